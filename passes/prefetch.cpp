// What devices hold in parts and gather before its use (ZeRO 3) is gathered one ahead: while one weight's product runs,
// the next weight travels.
//   before   %a = all_gather(%w1), … = contract(%x, %a), %b = all_gather(%w2), … = contract(%y, %b)
//   after    %a = all_gather(%w1), %b = all_gather(%w2), … = contract(%x, %a), … = contract(%y, %b)
#include "frontend/ir/collective.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/readers.h"

namespace optp {
namespace {
// It needs nothing that the graph computes, so it may stand anywhere.
bool gathers_a_parameter(const Node& node) {
  return node.op->collective && call_of(node).kind == Collective::all_gather && !node.operand(0).producer;
}
}  // namespace

llvm::Error prefetch(Graph& graph) {
  std::vector<Node*> order;
  for (const auto& node : graph.nodes) order.push_back(node.get());
  llvm::DenseSet<const Node*> readers;  // of what was gathered last
  Node* first_reader = nullptr;         // of those the first in the graph's order, once it was met
  for (Node* node : order) {
    if (!gathers_a_parameter(*node)) {
      if (!first_reader && readers.contains(node)) first_reader = node;
      continue;
    }
    if (first_reader) graph.nodes.splice(first_reader->place, graph.nodes, node->place);
    readers.clear();
    for (const Node* reader : readers_of_bytes(node->out())) readers.insert(reader);
    first_reader = nullptr;
  }
  return llvm::Error::success();
}
}  // namespace optp
