// One tensor's shards in a terminal, for any number of dims: a ruler for each dim, from its first index to its last,
// with the devices that hold each stretch of it.
#pragma once
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan.h"

namespace optp {
// Dims without a number, or whose ranges depend on such, are left out.
void draw_layout(const Plan::Layout& layout, bool colour, llvm::raw_ostream& out);
}  // namespace optp
