// What a training step is given: sequences of tokens as the model's inputs, cut for each rank that is held.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "runtime/comm/per_rank.h"
#include "tools/run/ports.h"
#include "tools/train/tokens.h"

namespace optp {

struct WholeBatch {
  HostArrays arrays;
  DimValues dims;
  int64_t tokens = 0, counted = 0;  // as below
};
struct TrainingBatch {
  PerRank<HostArrays> ranks;
  DimValues dims;
  int64_t tokens = 0;   // excluding padding
  int64_t counted = 0;  // labels
};

class BatchMaker {
 public:
  // `ports`: the plan's inputs of roles data and labels. Errors: an input that no token file can fill.
  static llvm::Expected<BatchMaker> create(llvm::StringRef model, std::vector<Port> ports, DimValues asked,
                                           llvm::ArrayRef<size_t> ranks);
  std::optional<int64_t> fixed_batch() const { return ids().dims[0].constant(); }
  std::optional<int64_t> fixed_sequence() const { return ids().dims[1].constant(); }
  int64_t vocabulary() const { return vocabulary_; }  // ids that are rows of the table and classes of the logits
  // Of a model whose batch is fixed, rows that are missing have no labels: they leave the mean as it is.
  llvm::Expected<TrainingBatch> make(const Sequences& sequences, llvm::ArrayRef<int64_t> rows, int64_t batch) const;
  // Before it is cut.
  llvm::Expected<WholeBatch> make_whole(const Sequences& sequences, llvm::ArrayRef<int64_t> rows, int64_t batch) const;

 private:
  const Port& ids() const { return ports_[ids_]; }
  std::vector<Port> ports_;
  size_t ids_ = 0;
  std::vector<size_t> ranks_;
  int64_t vocabulary_ = 0;
  DimValues asked_;
};

}  // namespace optp
