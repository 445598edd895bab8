#include "passes/sharding_rules.h"

namespace optp {
namespace {
// Fills in a node's axes from the shardings of its values.
struct Taking {
  const Factors& factors;
  const Node& node;
  const Rule& rule;
  NodeAxes axes = NodeAxes();

  bool is_linked(int loop) const {
    return llvm::any_of(rule.links,
                        [&](const LoopLink& l) {
                          return llvm::is_contained(l.left, loop) || llvm::is_contained(l.right, loop);
                        }) ||
           llvm::any_of(rule.pieces, [&](const LoopPiece& p) { return p.whole == loop || p.piece == loop; });
  }
  // The axes that split the loop where `s` is the sharding of a dim that runs over it; of those classes alone that are
  // wanted.
  void take(int loop, const DimSharding& s, llvm::function_ref<bool(Factors::Class)> wanted) {
    // Judge by this op's own loop: a pin may split a class that some other op needs whole.
    if (loop == no_loop || !s.is_split() || rule.loops[size_t(loop)].whole) return;
    // Follows its finer loop.
    if (llvm::any_of(rule.covers, [&](const LoopCover& c) { return c.coarse == loop; })) return;
    const auto& dim = factors.of_loop(node, loop);
    // A pinned sharding may name its own parts and factors; only those that are the loop's own can be followed.
    if (s.parts.size() != dim.parts.size()) return;
    for (size_t part = 0; part < dim.parts.size(); ++part) {
      const auto& own = dim.parts[part];
      for (size_t k = 0; k < own.extents.size(); ++k) {
        const AxisUses split = axes_of_factor(s.parts[part].factors, own, k);
        const int c = own.classes[k];
        if (split.empty() || (is_linked(loop) && factors.info(c).needs_whole) || axes.contains(c) || !wanted(c))
          continue;
        if (!is_used(split, dim, part)) axes[c] = split;
      }
    }
  }
  // A mesh axis splits one dim: another class has it only where it is another part of the same loop.
  bool is_used(const AxisUses& wanted, const Factors::DimFactors& dim, size_t part) const {
    const auto all = dim.classes();
    for (const auto& [c, taken] : axes) {
      const bool beside = llvm::is_contained(all, c) && !llvm::is_contained(dim.parts[part].classes, c);
      if (!beside && share_an_axis(wanted, taken)) return true;
    }
    return false;
  }
  bool is_in_results(Factors::Class c) const {
    for (const auto& loops : rule.results)
      for (int loop : loops)
        if (loop != no_loop && llvm::is_contained(factors.of_loop(node, loop).classes(), c)) return true;
    return false;
  }

  // Axes of one class where a loop's dim is held so.
  AxisUses axes_in(const DimSharding& s, int loop, Factors::Class c) const {
    const auto& dim = factors.of_loop(node, loop);
    if (s.parts.size() != dim.parts.size()) return {};
    for (size_t part = 0; part < dim.parts.size(); ++part)
      for (size_t k = 0; k < dim.parts[part].classes.size(); ++k)
        if (dim.parts[part].classes[k] == c) return axes_of_factor(s.parts[part].factors, dim.parts[part], k);
    return {};
  }
  const DimSharding* held_along(unsigned operand, int loop) const {
    const auto at = llvm::find(rule.operands[operand], loop);
    if (at == rule.operands[operand].end() || !node.operands[operand]->sharding) return nullptr;
    return &node.operands[operand]->sharding->dims[size_t(at - rule.operands[operand].begin())];
  }
  // What is held in parts of a sum is summed up in parts, also where the result is wanted in parts over the same axis:
  // a reduce-scatter moves the result, and otherwise operands would move. Of a product both factors must be so. Copies
  // that cover are summed up where the result has them.
  void of_sums() {
    auto has_copies = [](const auto& v) { return v->sharding && has_cover(v->sharding->axes()); };
    if (llvm::any_of(node.operands, has_copies) || llvm::any_of(node.results, has_copies)) return;
    for (int loop = 0; loop < int(rule.loops.size()); ++loop) {
      if (rule.loops[size_t(loop)].reduce == Reduce::none) continue;
      llvm::SmallVector<const DimSharding*, 2> held;
      for (unsigned k = 0; k < node.operands.size(); ++k)
        if (const DimSharding* s = held_along(k, loop)) held.push_back(s);
      if (held.empty() || (node.op->is(Trait::product) && held.size() < 2)) continue;
      take(loop, *held[0], [&](int c) {
        return llvm::all_of(held,
                            [&](const DimSharding* s) { return axes_in(*s, loop, c) == axes_in(*held[0], loop, c); });
      });
    }
  }
  void of_results() {
    for (size_t k = 0; k < node.results.size(); ++k)
      for (size_t d = 0; d < rule.results[k].size() && node.results[k]->sharding; ++d)
        take(rule.results[k][d], node.results[k]->sharding->dims[d], [](int) { return true; });
  }
  // What is summed, and the parts of a fused dim that a slice leaves out, are as the operands have them.
  void of_operands() {
    for (size_t k = 0; k < node.operands.size(); ++k)
      for (size_t d = 0; d < rule.operands[k].size() && node.operands[k]->sharding; ++d) {
        const int loop = rule.operands[k][d];
        if (loop == no_loop) continue;
        const DimSharding& s = node.operands[k]->sharding->dims[d];
        const bool is_whole = llvm::any_of(rule.pieces, [&](const LoopPiece& p) { return p.whole == loop; });
        if (rule.loops[size_t(loop)].reduce != Reduce::none)
          take(loop, s, [](int) { return true; });
        else if (is_whole && factors.of_loop(node, loop).parts.size() > 1)
          take(loop, s, [&](int c) { return !is_in_results(c); });
      }
  }
};

// Of one factor its class.
std::optional<Factors::Class> only_class(const Factors::DimFactors& dim) {
  const auto classes = dim.classes();
  return classes.size() == 1 ? std::optional(classes[0]) : std::nullopt;
}
// What a coarser loop has follows from its finer one. Where these are several factors, the node runs whole.
void cover(NodeAxes& out, const Factors& factors, const Node& node, const Rule& rule) {
  for (const LoopCover& c : rule.covers) {
    const auto &fine = factors.of_loop(node, c.fine), &coarse = factors.of_loop(node, c.coarse);
    const auto from = only_class(fine), to = only_class(coarse);
    for (int k : coarse.classes()) out.erase(k);
    if (!from || !to) {
      for (int k : fine.classes()) out.erase(k);
    } else if (const auto at = out.find(*from); at != out.end()) {
      if (AxisUses axes = covering(at->second, c.times); !axes.empty()) out[*to] = std::move(axes);
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
    const bool is_whole = rule.loops[size_t(loop)].whole, is_counted = rule.loops[size_t(loop)].counted;
    // The right side of a link, and a piece, run over elements that another loop runs over already.
    const bool again = llvm::any_of(rule.links, [&](const LoopLink& l) { return llvm::is_contained(l.right, loop); }) ||
                       llvm::any_of(rule.pieces, [&](const LoopPiece& p) { return p.piece == loop; });
    for (const auto& part : dim.parts) {
      bool is_major = dim.parts.size() == 1;
      llvm::SmallVector<int, 4> seen;
      for (size_t k = 0; k < part.classes.size(); ++k) {
        const int c = part.classes[k];
        if (is_whole || (is_counted && !is_major) || llvm::is_contained(seen, c)) out.erase(c);
        seen.push_back(c);
        if (!part.extents[k].is(1)) is_major = false;
      }
    }
    if (!again)
      for (int c : dim.classes())
        if (++loops_of_class[c] > 1) out.erase(c);
  }
}
}  // namespace

AxisUses axes_of_factor(const FactorShardings& split, const Factors::ProductFactors& own, size_t k) {
  Dim above = 1, at = 1;
  for (size_t f = 0; f < k; ++f) above = above * own.extents[f];
  for (const FactorSharding& f : split) {
    if (at == above && f.extent == own.extents[k]) return f.axes;
    at = at * f.extent;
  }
  return {};
}
bool share_an_axis(llvm::ArrayRef<AxisUse> a, llvm::ArrayRef<AxisUse> b) {
  return llvm::any_of(a, [&](const AxisUse& use) { return are_over(b, use.axis); });
}
AxisUses covering(llvm::ArrayRef<AxisUse> axes, int64_t times) {
  if (axes.size() != 1) return {};
  AxisUse use = axes[0];
  use.group *= times;
  return {use};
}
void hold_once(NodeAxes& axes, const Node& node, const Factors& factors) {
  const Rule& rule = factors.rule(node);
  for (size_t k = 0; k < rule.loops.size(); ++k) {
    if (rule.loops[k].reduce == Reduce::none) continue;
    for (int c : factors.of_loop(node, int(k)).classes())
      if (const auto at = axes.find(c); at != axes.end())
        for (AxisUse& use : at->second) use.once = use.is_cover();
  }
}
NodeAxes node_axes(const Node& node, const Factors& factors) {
  Taking taking{factors, node, factors.rule(node)};
  taking.of_sums();
  taking.of_results();
  taking.of_operands();
  take_back(taking.axes, factors, node, taking.rule);
  cover(taking.axes, factors, node, taking.rule);
  return std::move(taking.axes);
}
DimSharding sharded(const Factors::DimFactors& dim, llvm::function_ref<AxisUses(Factors::Class)> axes_of) {
  DimSharding out;
  for (const auto& part : dim.parts) {
    ProductSharding& to = out.parts.emplace_back();
    for (size_t k = 0; k < part.extents.size(); ++k) to.factors.push_back({part.extents[k], axes_of(part.classes[k])});
  }
  if (!out.is_product() && !out.is_split()) out.parts.clear();
  return out;
}
DimSharding sharded(const Factors::DimFactors& dim, const NodeAxes& axes) {
  return sharded(dim, [&](int c) {
    const auto it = axes.find(c);
    return it == axes.end() ? AxisUses() : it->second;
  });
}
DimSharding loop_sharding(const Node& node, const Factors& factors, int loop, const NodeAxes& axes) {
  if (loop == no_loop) return {};
  DimSharding out = sharded(factors.of_loop(node, loop), axes);
  if (factors.rule(node).loops[size_t(loop)].reduce == Reduce::none || out.is_product()) return out;
  for (const AxisUse& use : out.axes())
    for (ProductSharding& part : out.parts) {
      if (llvm::any_of(part.factors, [&](const auto& f) { return are_over(f.axes, use.axis); })) continue;
      if (!part.is_split()) part.factors = {{part.extent(), {}}};
      part.factors.front().axes.push_back(use.axis);
    }
  return out;
}
DimSharding unsplit(const Factors::DimFactors& dim) {
  return sharded(dim, [](int) { return AxisUses(); });
}
DimSharding cut_at_majors(const Factors::DimFactors& dim, const AxisUses& axes) {
  DimSharding out;
  for (const auto& part : dim.parts) {
    ProductSharding& to = out.parts.emplace_back();
    for (Dim extent : part.extents) to.factors.push_back({extent, to.factors.empty() ? axes : AxisUses()});
  }
  return out;
}
}  // namespace optp
