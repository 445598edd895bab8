#include "passes/partials.h"

#include "frontend/ir/builder.h"
#include "passes/sharding_rules.h"

namespace optp {
PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts) {
  accepts.assign(operands.size(), true);
  PartialState own;
  for (size_t k = 0; k < rule.loops.size(); ++k) {
    if (rule.loops[k].reduce == Reduce::none) continue;
    for (int c : factors.of_loop(node, int(k)).classes) {
      auto it = axes.find(c);
      if (it == axes.end()) continue;
      for (const std::string& axis : it->second)
        if (!llvm::is_contained(own.axes, axis)) own.axes.push_back(axis);
      if (!it->second.empty()) own.reduce = rule.loops[k].reduce;
    }
  }
  PartialState through;
  size_t partial_operands = 0;
  for (size_t k = 0; k < operands.size(); ++k)
    if (operands[k].is_partial()) {
      through = operands[k];
      ++partial_operands;
    }
  if (partial_operands == 0) return own;
  bool passes = false;
  switch (rule.linear) {
    case Linear::none: break;
    case Linear::view: passes = partial_operands == 1; break;
    case Linear::jointly:
      // All partial alike: a whole operand added to a partial one would be added once a rank.
      passes = through.reduce == Reduce::sum && llvm::all_of(operands, [&](const PartialState& s) { return s == through; });
      break;
    case Linear::in_each_operand: passes = through.reduce == Reduce::sum && partial_operands == 1; break;
    case Linear::addends:
      if (llvm::all_of(operands, [&](const PartialState& s) { return s == through; })) {
        passes = through.reduce == Reduce::sum;
        break;
      }
      // Mixed: those that are partial alike are reduced together within the sum; its result is whole.
      for (size_t k = 0; k < operands.size(); ++k) accepts[k] = !operands[k].is_partial() || (operands[k] == through && through.reduce == Reduce::sum);
      return own;
    case Linear::in_first: passes = through.reduce == Reduce::sum && partial_operands == 1 && operands[0].is_partial(); break;
  }
  // One partial at a time: over contracted axes and over a passing operand's both, the sum would need two orders.
  if (passes && own.is_partial()) passes = false;
  // Members along an axis that splits the node's loops hold different elements, not addends of the same ones.
  for (const auto& entry : axes)
    for (const std::string& axis : entry.second)
      if (llvm::is_contained(through.axes, axis)) passes = false;
  if (passes) return through;
  for (size_t k = 0; k < operands.size(); ++k) accepts[k] = !operands[k].is_partial();
  return own;
}

void find_partials(Graph& graph, const Factors& factors, llvm::function_ref<bool(const Value&)> frozen) {
  llvm::DenseMap<const Value*, PartialState> state;
  llvm::DenseSet<const Value*> reduced;
  std::vector<Node*> nodes;
  std::vector<NodeAxes> axes;
  for (auto& node : graph.nodes) {
    if (node->results.size() != 1) continue;
    if (frozen(node->out())) {
      state[&node->out()] = {node->out().sharding->reduce, node->out().sharding->partial};
      continue;
    }
    nodes.push_back(node.get());
    axes.push_back(node_axes(*node, factors));
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t n = 0; n < nodes.size(); ++n) {
      Node& node = *nodes[n];
      llvm::SmallVector<PartialState, 3> operands;
      for (const Value* v : node.operands) operands.push_back(reduced.contains(v) ? PartialState{} : state.lookup(v));
      llvm::SmallVector<bool, 3> accepts;
      PartialState result = partial_result(node, factors.rule(node), factors, axes[n], operands, accepts);
      // A frozen value that is taken whole here is reduced for this user only.
      for (size_t k = 0; k < operands.size(); ++k)
        if (!accepts[k] && !frozen(*node.operands[k]) && reduced.insert(node.operands[k]).second) changed = true;
      if (state.lookup(&node.out()) != result) {
        state[&node.out()] = result;
        changed = true;
      }
      // A result that was pinned to be split along the same axis can't be in parts along it, too.
      const Axes own = node.out().sharding->axes();
      const bool pinned = llvm::any_of(result.axes, [&](const std::string& axis) { return llvm::is_contained(own, axis); });
      if (result.is_partial() && (pinned || graph.is_output(node.out())) && reduced.insert(&node.out()).second) changed = true;
    }
  }
  for (Node* node : nodes)
    if (auto s = state.lookup(&node->out()); s.is_partial() && !reduced.contains(&node->out())) {
      node->out().sharding->partial = s.axes;
      node->out().sharding->reduce = s.reduce;
    }
}

llvm::Error lower_sums(Graph& graph) {
  Builder build(graph);
  build.set_fold(false);
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (node.op->name != "sum") continue;
    build.before(&node);
    build.at(node.name, node.origin);
    build.phase(node.phase);
    llvm::SmallVector<Value*, 3> partial, whole;
    for (Value* v : node.operands) (v->sharding->is_partial() ? partial : whole).push_back(v);
    Value& out = node.out();
    Sharding reduced = *out.sharding;
    Value* total = nullptr;
    auto append = [&](Value* v, const Sharding& sharding) -> llvm::Error {
      if (!total) {
        total = v;
        return llvm::Error::success();
      }
      auto sum = build.create("add", {total, v}, {}, out.name);
      if (!sum) return sum.takeError();
      total = *sum;
      total->sharding = sharding;
      total->cause = out.cause;
      return llvm::Error::success();
    };
    for (size_t k = 0; k < partial.size(); ++k) {
      // The last of the partial sums is where they are reduced, unless all stays in parts.
      Sharding s = *partial[k]->sharding;
      if (k + 1 == partial.size() && !whole.empty()) s = reduced;
      if (auto e = append(partial[k], s)) return e;
    }
    for (Value* v : whole)
      if (auto e = append(v, reduced)) return e;
    const std::string name = out.name;
    graph.replace_all_uses(out, *total);
    graph.erase(node);
    if (total->producer && total->producer->op->name == "add" && !graph.find(name)) graph.rename(*total, name);
  }
  return llvm::Error::success();
}
}  // namespace optp
