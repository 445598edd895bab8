// Exporters write chains of Unsqueeze, Flatten and Reshape; one reshape says the same.
#include "frontend/ir/op.h"
#include "passes/passes.h"

namespace optp {
llvm::Error merge_views(Graph& graph, const PassOptions& options) {
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (!node.op->is(Trait::reshapes | Trait::repeats)) continue;
    // Upwards, until something has the shape already: that one keeps its name.
    Value* in = &node.operand(0);
    while (in->type.dims != node.out().type.dims && node.op->is(Trait::reshapes) && in->producer &&
           in->producer->op->is(Trait::reshapes))
      in = &in->producer->operand(0);
    const bool is_none = in->type.dims == node.out().type.dims;
    if (!is_none && in == &node.operand(0)) continue;
    if (!options.may_rewrite()) break;
    if (is_none) {
      graph.replace_all_uses(node.out(), *in);
      graph.erase(node);
    } else {
      graph.set_operand(node, 0, *in);
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
