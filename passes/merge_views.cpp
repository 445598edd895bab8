// Exporters write chains of Unsqueeze, Flatten and Reshape; one reshape says the same.
#include "frontend/ir/op.h"
#include "passes/passes.h"

namespace optp {
llvm::Error merge_views(Graph& graph, const PassOptions&) {
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (node.op->name != "reshape" && node.op->name != "expand") continue;
    while (node.op->name == "reshape" && node.operand(0).producer && node.operand(0).producer->op->name == "reshape")
      graph.set_operand(node, 0, node.operand(0).producer->operand(0));
    if (node.operand(0).type.dims != node.out().type.dims) continue;
    Value& in = node.operand(0);
    graph.replace_all_uses(node.out(), in);
    graph.erase(node);
  }
  return llvm::Error::success();
}
}  // namespace optp
