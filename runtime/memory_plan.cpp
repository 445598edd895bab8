#include "runtime/memory_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace optp {
namespace {
constexpr int64_t alignment = 64;
int64_t rounded(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
}  // namespace

MemoryPlan plan_memory(llvm::ArrayRef<Lifetime> lifetimes) {
  MemoryPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<size_t> placed;
  std::vector<std::pair<int64_t, int64_t>> taken;  // offset, end
  for (size_t k : order) {
    const Lifetime& own = lifetimes[k];
    const int64_t bytes = rounded(own.bytes);
    if (bytes == 0) continue;
    taken.clear();
    for (size_t other : placed)
      if (lifetimes[other].first <= own.last && own.first <= lifetimes[other].last)
        taken.push_back({plan.offsets[other], plan.offsets[other] + rounded(lifetimes[other].bytes)});
    std::sort(taken.begin(), taken.end());
    int64_t best = -1, best_gap = INT64_MAX, end = 0;
    for (auto [start, stop] : taken) {
      if (start - end >= bytes && start - end < best_gap) best = end, best_gap = start - end;
      end = std::max(end, stop);
    }
    plan.offsets[k] = best >= 0 ? best : end;
    plan.bytes = std::max(plan.bytes, plan.offsets[k] + bytes);
    placed.push_back(k);
  }
  std::map<int64_t, int64_t> change;
  for (const Lifetime& l : lifetimes) {
    change[l.first] += rounded(l.bytes);
    change[l.last + 1] -= rounded(l.bytes);
  }
  int64_t now = 0;
  for (auto [step, delta] : change) plan.lower_bound_bytes = std::max(plan.lower_bound_bytes, now += delta);
  return plan;
}
}  // namespace optp
