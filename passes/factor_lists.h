// Lists of factors, each list an extent written as a product, and what two sides of a reshape say of them.
#pragma once
#include <vector>

#include "frontend/ir/dim.h"
#include "passes/needs_whole.h"

namespace optp {

struct FactorLists {
  std::vector<llvm::SmallVector<Dim, 2>> extents;
  std::vector<NeedsWhole> needs_whole;
};
struct FactorSlot {
  int list;
  unsigned factor;
};

// Walks two sides from their minor ends. A factor that the other side's divides is cut in two: then `refined` is set
// and the walk must start again. Slots that match are given to `match`; a block without common cuts to `block`.
void align_factors(FactorLists& lists, llvm::ArrayRef<int> left, llvm::ArrayRef<int> right, bool& refined,
                   llvm::function_ref<void(FactorSlot, FactorSlot)> match, llvm::function_ref<void(FactorSlot)> block);
}  // namespace optp
