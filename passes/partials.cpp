#include "passes/partials.h"

#include "frontend/ir/builder.h"
#include "passes/sharding_rules.h"

namespace optp {
namespace {
// Partial over the axes that split the loops which the node reduces.
PartialState made_by(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes) {
  PartialState own;
  for (size_t k = 0; k < rule.loops.size(); ++k) {
    if (rule.loops[k].reduce == Reduce::none) continue;
    for (int c : factors.of_loop(node, int(k)).classes()) {
      auto it = axes.find(c);
      if (it == axes.end()) continue;
      for (const AxisUse& use : it->second)
        if (!llvm::is_contained(own.axes, use.axis)) own.axes.push_back(use.axis);
      if (!it->second.empty()) own.reduce = rule.loops[k].reduce;
    }
  }
  llvm::sort(own.axes);  // sums over the same axes are alike, whatever loops they are of
  return own;
}
bool all_are(const PartialState& state, llvm::ArrayRef<PartialState> operands) {
  return llvm::all_of(operands, [&](const PartialState& s) { return s == state; });
}
// Does the node reduce over what is covered alone, and over the axes of the operand's sum? Each rank has its addends of
// what it holds, so that the two sums are one.
bool is_one_sum(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                const PartialState& own, const PartialState& through) {
  if (own != through || own.reduce != Reduce::sum) return false;
  for (size_t k = 0; k < rule.loops.size(); ++k)
    for (int c : factors.of_loop(node, int(k)).classes())
      if (auto it = axes.find(c); it != axes.end() && rule.loops[k].reduce != Reduce::none)
        if (!llvm::all_of(it->second, [](const AxisUse& use) { return use.is_cover(); })) return false;
  return true;
}
// Are the operand's addends covered as the node's loops are? What is covered over the sum's axes is a sum over those
// ranks alone that hold an index, so that addends which all ranks have of it, or of a dim of extent 1, would be lost.
bool is_covered_alike(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                      const PartialState& through, size_t operand) {
  const auto& loops = rule.operands[operand];
  const auto& held = node.operand(operand).sharding;
  // Whether the operand has the class, and all of it so.
  auto has = [&](int c, const AxisUses& uses) {
    bool found = false;
    for (size_t d = 0; d < loops.size(); ++d) {
      if (loops[d] == no_loop) continue;
      const auto& own = factors.of_loop(node, loops[d]).parts;
      for (size_t p = 0; p < own.size(); ++p)
        for (size_t k = 0; k < own[p].classes.size(); ++k) {
          if (own[p].classes[k] != c) continue;
          found = held && held->dims[d].parts.size() == own.size() &&
                  axes_of_factor(held->dims[d].parts[p].factors, own[p], k) == uses;
          if (!found) return false;
        }
    }
    return found;
  };
  return llvm::all_of(axes, [&](const auto& entry) {
    return llvm::none_of(
               entry.second,
               [&](const AxisUse& use) { return use.is_cover() && llvm::is_contained(through.axes, use.axis); }) ||
           has(entry.first, entry.second);
  });
}
// Zeros are a partial sum over any axes: those that stand for what a slice left out, on the way back.
bool is_zero(const Value& v) {
  const Value* at = &v;
  while (at->producer && at->producer->op->is(view_traits)) at = &at->producer->operand(0);
  if (!at->is_data() || at->data->elements() != 1 || !is_float(at->type.dtype)) return false;
  return to_array(*at->data).f[0] == 0;
}
// Is op(Σ x) = Σ op(x), where `through` is what the last of the partial operands is?
bool is_linear_in(const Node& node, Linear linear, bool covers, const PartialState& through,
                  llvm::ArrayRef<PartialState> operands) {
  const bool is_sum = through.reduce == Reduce::sum;
  const bool is_only_one = llvm::count_if(operands, [](const PartialState& s) { return s.is_partial(); }) == 1;
  switch (linear) {
    case Linear::none:
      return false;
    case Linear::view:
      return is_only_one;
    case Linear::jointly:
    case Linear::addends:
      // All partial over the same axes: a whole operand added to a partial one would be added once per rank.
      return is_sum && llvm::all_of(llvm::enumerate(operands), [&](auto operand) {
               return operand.value() == through || (covers && is_zero(node.operand(operand.index())));
             });
    case Linear::in_each_operand:
      return is_sum && is_only_one;
    case Linear::in_first:
      return is_sum && is_only_one && operands[0].is_partial();
  }
  return false;
}
// Of a product's two operands that are both sums one may stay one: the larger, if the result is no larger either. Then
// the smaller is reduced and later the result, which costs no more than reducing both.
std::optional<size_t> stays_partial(const Node& node, Linear linear, llvm::ArrayRef<PartialState> operands) {
  const bool are_two = linear == Linear::in_each_operand && operands.size() == 2 &&
                       llvm::all_of(operands, [](const PartialState& s) { return s.is_partial(); });
  if (!are_two || &node.operand(0) == &node.operand(1)) return std::nullopt;
  const auto size = [](const Value& v) { return product(v.type.dims); };
  for (size_t k : {0, 1})
    if (const Dim own = size(node.operand(k)); operands[k].reduce == Reduce::sum &&
                                               exact_div(own, size(node.operand(1 - k))) &&
                                               exact_div(own, size(node.out())))
      return k;
  return std::nullopt;
}
}  // namespace

PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts) {
  if (const auto stays = stays_partial(node, rule.linear, operands)) {
    llvm::SmallVector<PartialState, 2> one(operands.size());
    one[*stays] = operands[*stays];
    const PartialState result = partial_result(node, rule, factors, axes, one, accepts);
    accepts[1 - *stays] = false;
    return result;
  }
  accepts.assign(operands.size(), true);
  PartialState own = made_by(node, rule, factors, axes);
  PartialState through;
  for (const PartialState& s : operands)
    if (s.is_partial()) through = s;
  if (!through.is_partial()) return own;
  if (rule.linear == Linear::addends && !all_are(through, operands)) {
    // The addends that are partial over the same axes are reduced together; the sum's result is whole.
    for (size_t k = 0; k < operands.size(); ++k)
      accepts[k] = !operands[k].is_partial() || (operands[k] == through && through.reduce == Reduce::sum);
    return own;
  }
  // A result carries at most one partial sum. Were it partial over both the contracted axes and an operand's, one
  // all-reduce could not finish both.
  const bool covers = llvm::any_of(axes, [](const auto& entry) { return has_cover(entry.second); });
  bool passes = is_linear_in(node, rule.linear, covers, through, operands) &&
                (!own.is_partial() || is_one_sum(node, rule, factors, axes, own, through));
  // Members along an axis that splits the node's loops hold different elements, not addends of the same ones. Those
  // that it covers hold addends, of a sum, of what they hold.
  for (const auto& entry : axes)
    for (const AxisUse& use : entry.second)
      if (llvm::is_contained(through.axes, use.axis) && !(use.is_cover() && through.reduce == Reduce::sum))
        passes = false;
  for (size_t k = 0; k < operands.size() && passes; ++k)
    passes = !operands[k].is_partial() || is_covered_alike(node, rule, factors, axes, through, k);
  if (passes) return through;
  for (size_t k = 0; k < operands.size(); ++k) accepts[k] = !operands[k].is_partial();
  return own;
}

bool may_be_partial(const Sharding& own, const PartialState& state) {
  return llvm::none_of(own.axes(), [&](const AxisUse& use) {
    return llvm::is_contained(state.axes, use.axis) && !(use.is_cover() && state.reduce == Reduce::sum);
  });
}

namespace {
class PartialSearch {
 public:
  PartialSearch(Graph& graph, const Factors& factors, llvm::function_ref<bool(const Value&)> is_pinned)
      : graph_(graph), factors_(factors), is_pinned_(is_pinned) {
    for (const GraphOutput& o : graph.outputs) outputs_.insert(o.value);
    for (auto& node : graph.nodes) {
      if (node->results.size() != 1) continue;
      if (is_pinned(node->out())) {
        start_[&node->out()] = {node->out().sharding->reduce, node->out().sharding->partial};
        continue;
      }
      nodes_.push_back(node.get());
      axes_.push_back(node_axes(*node, factors));
    }
  }
  void run() {
    settle({});
    const llvm::DenseSet<const Value*> earlier = reduce_earlier();
    if (!earlier.empty()) settle(earlier);
    for (Node* node : nodes_)
      if (is_partial(node->out())) {
        node->out().sharding->partial = state_.lookup(&node->out()).axes;
        node->out().sharding->reduce = state_.lookup(&node->out()).reduce;
      }
  }

 private:
  bool is_partial(const Value& v) const { return !reduced_.contains(&v) && state_.lookup(&v).is_partial(); }

  // The greatest fixpoint: starts from all that may stay partial and removes until nothing changes.
  void settle(const llvm::DenseSet<const Value*>& reduced) {
    state_ = start_;
    reduced_ = reduced;
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t n = 0; n < nodes_.size(); ++n) {
        Node& node = *nodes_[n];
        llvm::SmallVector<PartialState, 3> operands;
        for (const Value* v : node.operands)
          operands.push_back(reduced_.contains(v) ? PartialState{} : state_.lookup(v));
        llvm::SmallVector<bool, 3> accepts;
        PartialState result = partial_result(node, factors_.rule(node), factors_, axes_[n], operands, accepts);
        // A pinned value that is needed whole here is reduced for this user only.
        for (size_t k = 0; k < operands.size(); ++k)
          if (!accepts[k] && !is_pinned_(*node.operands[k]) && reduced_.insert(node.operands[k]).second) changed = true;
        if (state_.lookup(&node.out()) != result) {
          state_[&node.out()] = result;
          changed = true;
        }
        // A result that is pinned to be split along an axis can't be partial over it as well.
        const bool is_whole_there = !may_be_partial(*node.out().sharding, result) || outputs_.contains(&node.out());
        if (result.is_partial() && is_whole_there && reduced_.insert(&node.out()).second) changed = true;
      }
    }
  }

  // A partial value that reaches several places where it must be reduced (a decomposed norm's gradient: of its input,
  // its scale and its bias; gate and values of an MLP, which are halves of it) is reduced once, before them, if nothing
  // else meets it on the way and one of them is as large, or all together are.
  llvm::DenseSet<const Value*> reduce_earlier() {
    llvm::DenseSet<const Value*> out, covered;
    for (Node* node : nodes_) {
      const Value& v = node->out();
      if (!is_partial(v) || v.uses.size() < 2 || covered.contains(&v)) continue;
      llvm::DenseSet<const Value*> cone{&v};
      llvm::SmallVector<const Value*> open{&v}, ends;
      llvm::SmallVector<const Node*> users;
      while (!open.empty()) {
        const Value* at = open.pop_back_val();
        for (const Use& use : at->uses) {
          users.push_back(use.node);
          const Value& next = use.node->out();
          if (!state_.lookup(&next).is_partial())
            ends.push_back(at);  // within a sum that joins it to whole addends
          else if (reduced_.contains(&next))
            ends.push_back(&next);
          else if (cone.insert(&next).second)
            open.push_back(&next);
        }
      }
      auto distinct = llvm::DenseSet<const Value*>(ends.begin(), ends.end());
      const bool closed = llvm::all_of(users, [&](const Node* n) {
        return llvm::all_of(n->operands, [&](const Value* o) { return !is_partial(*o) || cone.contains(o); });
      });
      const Dim size = product(v.type.dims);
      Dim sizes = 0;
      bool large = false;
      for (const Value* e : distinct) {
        large |= exact_div(product(e->type.dims), size).has_value();
        sizes = sizes + product(e->type.dims);
      }
      large |= exact_div(sizes, size).has_value();
      if (distinct.size() < 2 || !closed || !large) continue;
      out.insert(&v);
      covered.insert(cone.begin(), cone.end());
    }
    return out;
  }

  Graph& graph_;
  const Factors& factors_;
  llvm::function_ref<bool(const Value&)> is_pinned_;
  llvm::DenseSet<const Value*> outputs_;
  std::vector<Node*> nodes_;
  std::vector<NodeAxes> axes_;
  llvm::DenseMap<const Value*, PartialState> start_, state_;
  llvm::DenseSet<const Value*> reduced_;
};
}  // namespace

void find_partials(Graph& graph, const Factors& factors, llvm::function_ref<bool(const Value&)> is_pinned) {
  PartialSearch(graph, factors, is_pinned).run();
}

llvm::Error lower_sums(Graph& graph) {
  Builder build(graph);
  build.set_fold(false);
  llvm::DenseMap<const Node*, size_t> order;  // a new node's: that of the one it stands behind
  llvm::DenseSet<const Node*> added;
  const auto place_of = [&](const Value& v) { return v.producer ? order.lookup(v.producer) + 1 : 0; };
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    order[&node] = order.size();
    if (!node.op->is(Trait::adds_many)) continue;
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
      // As soon as both are there, so that neither is kept for addends that come later.
      const Value& later = place_of(*v) > place_of(*total) ? *v : *total;
      auto at = later.producer ? std::next(later.producer->place) : node.place;
      while (at->get() != &node && added.contains(at->get())) ++at;  // these, too, may be addends
      build.before(at->get());
      auto sum = build.create("add", {total, v}, {}, out.name);
      if (!sum) return sum.takeError();
      total = *sum;
      order[total->producer] = order.lookup(later.producer ? later.producer : &node);
      added.insert(total->producer);
      total->sharding = sharding;
      total->cause = out.cause;
      return llvm::Error::success();
    };
    for (size_t k = 0; k < partial.size(); ++k) {
      // The last of the partial sums is where they are reduced, unless the result is in parts, too.
      if (auto e = append(partial[k], k + 1 == partial.size() ? reduced : *partial[k]->sharding)) return e;
    }
    for (Value* v : whole)
      if (auto e = append(v, reduced)) return e;
    const std::string name = out.name;
    graph.replace_all_uses(out, *total);
    graph.erase(node);
    if (total->producer && total->producer->op->is(Trait::adds) && !graph.find(name)) graph.rename(*total, name);
  }
  return llvm::Error::success();
}
}  // namespace optp
