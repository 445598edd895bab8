#include "passes/plan/layouts.h"

namespace optp {
namespace {
std::string key_of(DType dtype, llvm::ArrayRef<Dim> dims, const Sharding& sharding) {
  std::string out = to_string(dtype).str() + to_string(dims) + to_string(sharding);
  for (const Dims& extents : factor_extents(dims, sharding)) out += to_string(llvm::ArrayRef<Dim>(extents));
  return out;
}
}  // namespace

Plan::RankShard rank_shard(SymbolicShard shard, DType dtype, std::vector<int64_t> ranks) {
  const Dim elements = product(shard.shape());
  return {std::move(ranks), std::move(shard), elements, elements * Dim(size_bytes(dtype))};
}

bool index_ranks(Plan::Layout& layout, int64_t devices) {
  constexpr size_t none = size_t(-1);
  layout.of_rank.assign(size_t(devices), none);
  for (size_t k = 0; k < layout.shards.size(); ++k)
    for (int64_t rank : layout.shards[k].ranks) {
      if (rank < 0 || rank >= devices || layout.of_rank[size_t(rank)] != none) return false;
      layout.of_rank[size_t(rank)] = k;
    }
  return llvm::none_of(layout.of_rank, [](size_t k) { return k == none; });
}

std::shared_ptr<const Plan::Layout> Layouts::of(DType dtype, llvm::ArrayRef<Dim> dims, const Sharding& sharding) {
  auto& known = known_[key_of(dtype, dims, sharding)];
  if (known) return known;
  auto made = std::make_shared<Plan::Layout>();
  made->dtype = dtype, made->sharding = sharding;
  made->dims.assign(dims.begin(), dims.end());
  const int64_t devices = mesh_.devices();
  std::map<std::string, size_t> index;
  for (int64_t r = 0; r < devices; ++r) {
    SymbolicShard shard = SymbolicShard::of(dims, sharding, mesh_, r);
    auto [at, fresh] = index.emplace(to_string(shard), made->shards.size());
    if (fresh) made->shards.push_back(rank_shard(std::move(shard), dtype, {}));
    made->shards[at->second].ranks.push_back(r);
    made->of_rank.push_back(at->second);
  }
  return known = std::move(made);
}
}  // namespace optp
