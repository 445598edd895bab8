#include "passes/readers.h"

#include "frontend/ir/op.h"

namespace optp {
llvm::SmallVector<const Node*, 4> readers_of_bytes(const Value& value) {
  llvm::SmallVector<const Node*, 4> out;
  for (const Use& use : value.uses) {
    out.push_back(use.node);
    if (!use.node->op->is(view_traits)) continue;
    for (const auto& result : use.node->results) out.append(readers_of_bytes(*result));
  }
  return out;
}
}  // namespace optp
