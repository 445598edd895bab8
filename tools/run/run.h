// What runs of an inference plan and steps of a training plan share.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "passes/plan/asked_dims.h"
#include "runtime/comm/world.h"
#include "tools/run/inputs.h"
#include "tools/run/ports.h"

namespace optp {
struct RunOptions {
  std::string folder, out;
  std::vector<std::string> inputs, inputs_dirs, dump;
  AskedDims dims;
  int64_t steps = 0;
  std::optional<double> learning_rate;
  int64_t threads = 0;
  std::string random_weights, profile;
  bool no_verify = false, overwrite = false;
};

// A rank's file as it runs. Its collectives are those of the file: one whose result this rank does not use stays.
llvm::Expected<std::unique_ptr<Graph>> read_rank(llvm::StringRef model_file);

// A rank's file does not say what its inputs and outputs are to a step; the plan does.
void note_roles(Graph& graph, const Plan& plan);

// The files and folders that a run reads.
std::vector<std::string> inputs_of(const RunOptions& options);

// The whole inputs of one run or step, and the named dims that their shapes say.
struct Batch {
  HostArrays arrays;
  DimValues dims;
};
// `given`: --input; `asked`: the dims that the options say; `folder`: of what is not given, or empty.
llvm::Expected<Batch> read_batch(llvm::ArrayRef<std::string> given, const DimValues& asked, llvm::StringRef folder,
                                 llvm::ArrayRef<Port> inputs);
llvm::Expected<DimValues> asked_dims(const AskedDims& asked, llvm::ArrayRef<Port> inputs);
// Has the plan every dim that was asked for, or one that it equals? Errors: bad_value.
llvm::Error check_names(const Plan& plan, const DimValues& asked);
llvm::Expected<PerRank<HostArrays>> take_shards(const Batch& batch, llvm::ArrayRef<Port> inputs,
                                                llvm::ArrayRef<size_t> ranks);

// Steps of a training plan on given inputs, the folders in turn. Writes index.json: the losses, and where what was
// asked for lies, whole and in the layout and under the names of the model's initializers. `graphs`: of the held ranks.
llvm::Error run_steps(const RunOptions& o, const Plan& plan, World& world, PerRank<std::unique_ptr<Graph>> graphs);
}  // namespace optp
