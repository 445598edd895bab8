// A product's loop lists say in which order its operands' dims lie, so a transpose before it costs nothing to leave
// out.
//   before   %t = transpose(%w) {perm = [1, 0]}   %y = contract(%x, %t) {loops = "b m k, k n -> b m n"}
//   after    %y = contract(%x, %w) {loops = "b m k, n k -> b m n"}
// For weights this is what lets a transposed head and its table be seen as one.
#include "frontend/ir/op.h"
#include "passes/passes.h"

namespace optp {
llvm::Error absorb_transposes(Graph& graph, const PassOptions& options) {
  for (auto& node : graph.nodes) {
    if (!node->op->is(Trait::product)) continue;
    for (unsigned k = 0; k < 2; ++k) {
      while (node->operand(k).producer && node->operand(k).producer->op->is(Trait::permutes) && options.may_rewrite()) {
        const Node& transpose = *node->operand(k).producer;
        const auto perm = transpose.integers("perm");
        auto& own = node->loops().operands[k];
        std::vector<std::string> list(perm.size());
        for (size_t d = 0; d < perm.size(); ++d) list[size_t(perm[d])] = own[d];
        own = std::move(list);
        graph.set_operand(*node, k, transpose.operand(0));
      }
    }
  }
  graph.erase_dead();
  // The same after it, where the transpose is the product's only use.
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (!node.op->is(Trait::permutes)) continue;
    Value& in = node.operand(0);
    if (!in.producer || !in.producer->op->is(Trait::product) || in.uses.size() != 1 || graph.is_output(in)) continue;
    if (!options.may_rewrite()) break;
    Node& product = *in.producer;
    std::vector<std::string> list;
    for (int64_t p : node.integers("perm")) list.push_back(product.loops().result[size_t(p)]);
    product.loops().result = std::move(list);
    in.type = node.out().type;
    const std::string name = node.out().name;
    graph.replace_all_uses(node.out(), in);
    graph.erase(node);
    graph.rename(in, name);
  }
  return llvm::Error::success();
}
}  // namespace optp
