// A layer norm over a dim that is cut becomes what it computes, so that each device sums its part of a token's mean and
// of its variance: two small all-reduces, where the norm itself would need the whole dim. Queries and keys that are
// normalised over all heads (MPT) are such; their all-reduces are combined.
//   before   %y = layer_norm(%x, %scale, %bias)
//   after    %c = sub(%x, reduce_mean(%x))   %y = c / √(reduce_mean(%c · %c) + epsilon) · %scale + %bias
// The mean is taken away first: the difference of two sums, E[x²] - E[x]², would need one all-reduce, but loses the
// variance to rounding where the mean is large.
#include "frontend/ir/formula.h"
#include "passes/annotation.h"

namespace optp {
namespace {
llvm::Error lower(Graph& graph, Node& node) {
  Builder build(graph);
  build.set_fold(false);
  build.before(&node);
  build.at(node.name, node.origin);
  build.phase(node.phase);
  Formula f(build);
  const std::string name = node.out().name;
  const int64_t axis = int64_t(node.operand(0).ndim()) - 1;
  Value* centred =
      f.op("sub", {&node.operand(0), f.mean(&node.operand(0), {axis}, /*keepdims=*/true)}, {}, name + ".centred");
  Value* variance = f.mean(f.mul(centred, centred), {axis}, /*keepdims=*/true);
  Value* y = f.div(centred, f.sqrt(f.add(variance, node.number("epsilon", 1e-5))));
  if (node.operands.size() > 1) y = f.mul(y, &node.operand(1));
  if (node.operands.size() > 2) y = f.add(y, &node.operand(2));
  if (auto e = f.take_error()) return e;
  graph.replace_all_uses(node.out(), *y);
  graph.erase(node);
  graph.rename(*y, name);
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<bool> lower_norms(Graph& graph, const Annotation& annotation, const PassOptions& options) {
  bool changed = false;
  for (auto at = graph.nodes.begin(); at != graph.nodes.end();) {
    Node& node = **at++;
    if (!node.op->is(Trait::normalizes)) continue;
    const Value& x = node.operand(0);
    if (!annotation.is_cut(x, unsigned(x.ndim()) - 1) || !options.may_rewrite()) continue;
    if (auto e = lower(graph, node)) return e;
    changed = true;
  }
  return changed;
}
}  // namespace optp
