// A training run on disk: checkpoint.json, and one file a rank with what it holds of parameters and optimizer state.
// Each file's hash is in the manifest; the folder is replaced as a whole or not at all.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "runtime/comm/world.h"
#include "tools/run/ports.h"
#include "tools/train/run_record.h"

namespace optp {

// A parameter, a state or the step, by the name of the step's input.
struct CheckpointTensor {
  std::string name, parameter, model_name;
  UpdateKind kind;
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
}  // namespace optp
