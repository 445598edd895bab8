// A training run on disk: checkpoint.json, and one file a rank with what it holds of
// parameters and optimizer state. Each file's hash is in the manifest; the folder is replaced as a whole or not at all.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "passes/training.h"
#include "runtime/comm/world.h"
#include "tools/run/ports.h"

namespace optp {

struct DataPosition {
  int64_t epoch = 0, batch = 0,
          sequence = 0;  // the next sequence in the epoch's order; it begins the epoch's batch `batch`
  uint64_t seed = 0;
  int64_t length = 0;  // of a sequence
  std::string path, blake3;
};

// Metadata: everything but the arrays.
struct RunRecord {
  std::string model_path, model_blake3;
  std::string frozen_blake3;  // of the parameters that are not trained, which the checkpoint does not hold
  std::string mesh, strategy;
  OptimizerOptions optimizer;
  double learning_rate = 0, max_gradient_norm = 0;
  int64_t accumulate = 1;
  std::vector<std::string> trainable, freeze, no_decay;
  std::string schedule;
  int64_t warmup_steps = 0, total_steps = 0;  // what the schedule spans
  int64_t epochs = 0, batch = 0;
  int64_t step = 0;  // steps that were done
  DataPosition position;
  std::vector<double> losses;  // of each step
};

// A parameter, a state or the step, by the name of the step's input.
struct CheckpointTensor {
  std::string name, kind, parameter;
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;                    // of the whole
  std::vector<std::string> aliases, transposed_aliases;  // of a parameter, as Value has them

  struct Part {  // what one rank holds and no rank before it does
    size_t rank;
    int64_t offset, size_bytes;
    Shard shard;
  };
  std::vector<Part> parts;
};

class Checkpoint {
 public:
  // Every file is compared with its hash. Errors name the file, what was expected and what was found.
  static llvm::Expected<Checkpoint> open(llvm::StringRef folder);
  const std::string& folder() const { return folder_; }
  const RunRecord& run() const { return run_; }
  llvm::ArrayRef<CheckpointTensor> tensors() const { return tensors_; }
  const CheckpointTensor* find(llvm::StringRef name) const;
  llvm::Expected<HostArray> whole(const CheckpointTensor& tensor) const;

 private:
  std::string folder_;
  RunRecord run_;
  std::vector<CheckpointTensor> tensors_;
  std::vector<std::shared_ptr<MappedFile>> files_;
};

// Together, into a transaction of which each process has an end; the root's is then committed. Each process writes the
// files of its ranks. `ports`: the plan's inputs that a step updates; `held`: what a rank has.
llvm::Error write_checkpoint(OutputTransaction& out, World& world, const RunRecord& run, const Graph& whole,
                             llvm::ArrayRef<Port> ports,
                             llvm::function_ref<const HostArray&(size_t rank, llvm::StringRef name)> held);
bool same_optimizer(const OptimizerOptions& a, const OptimizerOptions& b);
std::string describe(const OptimizerOptions& options);  // "adam with beta1 0.9"

}  // namespace optp
