// What each rank holds of a tensor: once for all tensors of one type and sharding, and once for all ranks that hold the
// same.
#pragma once
#include "passes/plan/plan.h"

namespace optp {

class Layouts {
 public:
  explicit Layouts(const Mesh& mesh) : mesh_(mesh) {}
  std::shared_ptr<const Plan::Layout> of(DType dtype, llvm::ArrayRef<Dim> dims, const Sharding& sharding);

 private:
  const Mesh& mesh_;
  std::map<std::string, std::shared_ptr<const Plan::Layout>> known_;
};

// A rank's entry from its shard.
Plan::RankShard rank_shard(SymbolicShard shard, DType dtype, std::vector<int64_t> ranks);
// Fills in `of_rank`. False: a rank is in no entry, or in two.
bool index_ranks(Plan::Layout& layout, int64_t devices);

}  // namespace optp
