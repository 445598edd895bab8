// Offsets in one arena for buffers that live from step to step.
#pragma once
#include <cstdint>
#include <vector>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

struct Lifetime {
  int64_t bytes = 0;
  int64_t first = 0, last = 0;  // steps, both included
};
struct MemoryPlan {
  std::vector<int64_t> offsets;   // 64-byte aligned, one a lifetime
  int64_t bytes = 0;              // of the arena
  int64_t lower_bound_bytes = 0;  // most that lives at one step
};
// Largest first, each into the smallest gap between those that live at the same time.
MemoryPlan plan_memory(llvm::ArrayRef<Lifetime> lifetimes);

}  // namespace optp
