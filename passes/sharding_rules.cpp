#include "passes/sharding_rules.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
void take(NodeAxes& out, const Factors& factors, const Node& node, const Rule& rule, llvm::ArrayRef<int> loops,
          const Value& v, bool summed_only) {
  if (!v.sharding) return;
  for (size_t d = 0; d < loops.size(); ++d) {
    const int loop = loops[d];
    if (loop == no_loop || !v.sharding->dims[d].is_split()) continue;
    if (summed_only && rule.loops[size_t(loop)].reduce == Reduce::none) continue;
    // Judge by this op's own loop: a pin may split a class that some other op needs whole.
    if (rule.loops[size_t(loop)].whole) continue;
    const bool linked = llvm::any_of(rule.links, [&](const LoopLink& l) {
      return llvm::is_contained(l.left, loop) || llvm::is_contained(l.right, loop);
    });
    const auto& dim = factors.of_loop(node, loop);
    // A pinned sharding may name its own factors; only those that are the loop's own can be followed.
    if (!v.sharding->dims[d].is_product()) continue;
    const auto& split = v.sharding->dims[d].factors();
    if (split.size() != dim.extents.size()) continue;
    for (size_t k = 0; k < split.size(); ++k) {
      if (split[k].axes.empty() || split[k].extent != dim.extents[k]) continue;
      const int c = dim.classes[k];
      if ((linked && factors.info(c).needs_whole) || out.contains(c)) continue;
      bool used = false;
      for (const auto& entry : out)
        for (const std::string& axis : entry.second) used |= llvm::is_contained(split[k].axes, axis);
      if (!used) out[c] = split[k].axes;
    }
  }
}
// Undoes a split that this op can't run with, although one of its loops could: a class that also is a loop which must
// be whole; one that two loops run over (x + xᵀ: a rank would have blocks of the diagonal only); and one that is not
// the major part of a counted loop, where a rank would have several ranges.
void take_back(NodeAxes& out, const Factors& factors, const Node& node, const Rule& rule) {
  llvm::DenseMap<int, int> loops_of_class;
  for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
    const auto& dim = factors.of_loop(node, loop);
    // The right side of a link runs over the elements of its left side again.
    const bool again = llvm::any_of(rule.links, [&](const LoopLink& l) { return llvm::is_contained(l.right, loop); });
    bool is_major = true;
    for (size_t k = 0; k < dim.classes.size(); ++k) {
      const int c = dim.classes[k];
      if (rule.loops[size_t(loop)].whole || (rule.loops[size_t(loop)].counted && !is_major) ||
          (!again && ++loops_of_class[c] > 1))
        out.erase(c);
      if (!dim.extents[k].is(1)) is_major = false;
    }
  }
}
}  // namespace

NodeAxes node_axes(const Node& node, const Factors& factors) {
  NodeAxes out;
  const Rule& rule = factors.rule(node);
  for (size_t k = 0; k < node.results.size(); ++k)
    take(out, factors, node, rule, rule.results[k], *node.results[k], /*summed_only=*/false);
  for (size_t k = 0; k < node.operands.size(); ++k)
    take(out, factors, node, rule, rule.operands[k], *node.operands[k], /*summed_only=*/true);
  take_back(out, factors, node, rule);
  return out;
}
DimSharding sharded(const Factors::DimFactors& dim, const NodeAxes& axes) {
  DimSharding out;
  for (size_t k = 0; k < dim.extents.size(); ++k) {
    auto it = axes.find(dim.classes[k]);
    out.factors().push_back({dim.extents[k], it == axes.end() ? Axes() : it->second});
  }
  return out;
}
}  // namespace optp
