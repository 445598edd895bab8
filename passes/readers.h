// Who reads what a value holds.
#pragma once
#include "frontend/ir/graph.h"

namespace optp {
// The nodes that read a value's bytes, also by another shape: its users, and those of views of it.
llvm::SmallVector<const Node*, 4> readers_of_bytes(const Value& value);
}  // namespace optp
