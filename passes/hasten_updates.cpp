// A parameter's update stands behind the last reader of what it replaces, instead of behind the whole backward pass: a
// gradient's memory is free as soon as it was used, and the gradient is still in the caches then. All of one
// parameter's update stays together, since one sweep over parameter, gradient and state does it. What needs all
// gradients, such as their norm, stays behind them. A gradient that is summed over devices gets the time until the next
// such sum to travel: its update stands behind that.
//   before   dw2, dx, dw1, …, w2.next = w2 - lr · dw2, w1.next = …
//   after    dw2, dx, w2.next = w2 - lr · dw2, dw1, …
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "passes/passes.h"
#include "passes/readers.h"

namespace optp {
namespace {
bool serves_updates_alone(const Value& v) {
  return llvm::all_of(v.uses, [](const Use& use) {
    if (use.node->phase == Phase::optimizer) return true;
    return use.node->op->is(view_traits) &&
           llvm::all_of(use.node->results, [](const auto& r) { return serves_updates_alone(*r); });
  });
}
bool sums_a_gradient(const Node& node) {
  return node.op->collective && node.phase == Phase::backward && serves_updates_alone(node.out());
}

class Schedule {
 public:
  explicit Schedule(Graph& graph) : graph_(graph) {
    for (const auto& node : graph_.nodes) order_.push_back(node.get());
    find_owners();
    make_units();
  }

  void run() {
    for (Node* node : order_) {
      if (done_.contains(node)) continue;
      // In front of one that takes long: what follows a product is done within its step, and may read what it read.
      if (node->op->is(Trait::product) || node->op->collective) place_ready(*node);
      done(*node);
    }
  }

 private:
  static constexpr int shared = -1;
  // Nodes that move together, and what they wait for.
  struct Unit {
    llvm::SmallVector<Node*, 8> nodes;
    int64_t open = 0;
  };

  // The parameter whose update alone a node of the optimizer serves.
  void find_owners() {
    llvm::StringMap<int> numbers;
    llvm::DenseMap<const Value*, int> given;  // by outputs
    for (const Update& u : graph_.updates) {
      const int owner =
          u.parameter.empty() ? shared : numbers.try_emplace(u.parameter, int(numbers.size())).first->second;
      for (const GraphOutput& o : graph_.outputs)
        if (o.name == u.output) given[o.value] = owner;
    }
    for (const GraphOutput& o : graph_.outputs) given.try_emplace(o.value, shared);
    for (Node* node : llvm::reverse(order_)) {
      if (node->phase != Phase::optimizer) continue;
      std::optional<int> owner;
      auto serves = [&](int who) { owner = !owner || *owner == who ? who : shared; };
      for (const auto& r : node->results) {
        if (const auto it = given.find(r.get()); it != given.end()) serves(it->second);
        for (const Use& use : r->uses) {
          const auto it = owners_.find(use.node);
          serves(it == owners_.end() ? shared : it->second);
        }
      }
      owners_[node] = owner.value_or(shared);
    }
  }

  void make_units() {
    llvm::DenseMap<int, size_t> of_owner;
    for (Node* node : order_) {
      const auto owner = owners_.find(node);
      if (owner == owners_.end()) continue;
      const auto next = units_.size();
      const size_t unit = owner->second == shared ? next : of_owner.try_emplace(owner->second, next).first->second;
      if (unit == next) units_.emplace_back();
      units_[unit].nodes.push_back(node);
      unit_of_[node] = unit;
    }
    for (size_t unit = 0; unit < units_.size(); ++unit)
      for (const Node* node : units_[unit].nodes)
        for (const Value* v : node->operands)
          if (v->producer) wait_for(unit, *v->producer);
    for (const Update& u : graph_.updates) {
      const Value* before = graph_.find(u.input);
      const auto after = llvm::find_if(graph_.outputs, [&](const GraphOutput& o) { return o.name == u.output; });
      const Node* maker = before && after != graph_.outputs.end() ? after->value->producer : nullptr;
      const auto unit = unit_of_.find(maker);
      if (unit == unit_of_.end()) continue;
      for (const Node* reader : readers_of_bytes(*before)) wait_for(unit->second, *reader);
    }
  }
  void wait_for(size_t unit, const Node& node) {
    const auto own = unit_of_.find(&node);
    if (own != unit_of_.end() && own->second == unit) return;
    if (waiting_[&node].insert(unit)) ++units_[unit].open;
  }

  void done(const Node& node) {
    if (!done_.insert(&node).second) return;
    if (sums_a_gradient(node)) {
      if (travels_) arrived(*travels_);
      travels_ = &node;
    } else {
      arrived(node);
    }
  }
  void arrived(const Node& node) {
    if (const auto it = waiting_.find(&node); it != waiting_.end())
      for (const size_t unit : it->second) --units_[unit].open;
  }
  // Some wait for others of them.
  void place_ready(Node& place) {
    for (bool again = true; again;) {
      again = false;
      for (Unit& unit : units_) {
        if (unit.open > 0 || unit.nodes.empty()) continue;
        if (llvm::is_contained(unit.nodes, &place)) continue;
        for (Node* node : unit.nodes) {
          if (done_.contains(node)) continue;
          graph_.nodes.splice(place.place, graph_.nodes, node->place);
          done(*node);
        }
        unit.nodes.clear();
        again = true;
      }
    }
  }

  Graph& graph_;
  std::vector<Node*> order_;
  llvm::DenseMap<const Node*, int> owners_;  // of nodes of the optimizer
  std::vector<Unit> units_;
  llvm::DenseMap<const Node*, size_t> unit_of_;
  llvm::DenseMap<const Node*, llvm::SmallSetVector<size_t, 2>> waiting_;  // units that wait for the node
  llvm::DenseSet<const Node*> done_;
  const Node* travels_ = nullptr;  // the last sum of a gradient
};
}  // namespace

llvm::Error hasten_updates(Graph& graph) {
  if (!graph.updates.empty()) Schedule(graph).run();
  return llvm::Error::success();
}
}  // namespace optp
