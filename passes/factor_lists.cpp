#include "passes/factor_lists.h"

namespace optp {
namespace {
// A link's side as slots, major to minor; extents of 1 are skipped.
llvm::SmallVector<FactorSlot, 6> slots(const FactorLists& lists, llvm::ArrayRef<int> group) {
  llvm::SmallVector<FactorSlot, 6> out;
  for (int list : group)
    for (unsigned f = 0; f < lists.extents[size_t(list)].size(); ++f)
      if (!lists.extents[size_t(list)][f].is(1)) out.push_back({list, f});
  return out;
}
}  // namespace

void align_factors(FactorLists& lists, llvm::ArrayRef<int> left, llvm::ArrayRef<int> right, bool& refined,
                   llvm::function_ref<void(FactorSlot, FactorSlot)> match, llvm::function_ref<void(FactorSlot)> block) {
  auto l = slots(lists, left), r = slots(lists, right);
  auto extent = [&](FactorSlot s) { return lists.extents[size_t(s.list)][s.factor]; };
  auto cut = [&](FactorSlot s, Dim major, Dim minor) {
    auto& e = lists.extents[size_t(s.list)];
    e[s.factor] = minor;
    e.insert(e.begin() + s.factor, major);
    refined = true;
  };
  while (!l.empty() && !r.empty()) {
    const Dim a = extent(l.back()), b = extent(r.back());
    if (a == b) {
      if (match) match(l.back(), r.back());
      l.pop_back(), r.pop_back();
      continue;
    }
    if (auto q = exact_div(a, b)) return cut(l.back(), *q, b);
    if (auto q = exact_div(b, a)) return cut(r.back(), *q, a);
    // 12 against 8: no common cut until the products meet again.
    Dim pa = a, pb = b;
    llvm::SmallVector<FactorSlot, 6> held{l.pop_back_val(), r.pop_back_val()};
    while (pa != pb && (!l.empty() || !r.empty())) {
      const bool from_left = r.empty() || (!l.empty() && proved_less_equal(pa, pb));
      auto& side = from_left ? l : r;
      (from_left ? pa : pb) = (from_left ? pa : pb) * extent(side.back());
      held.push_back(side.pop_back_val());
    }
    if (block)
      for (FactorSlot s : held) block(s);
  }
  if (block) {
    for (FactorSlot s : l) block(s);
    for (FactorSlot s : r) block(s);
  }
}
}  // namespace optp
