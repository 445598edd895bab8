// Shardings for what training adds to an annotated graph. There is no recognition here: a class of factors is split as
// the values that have a sharding already say, and a parameter, its gradient, its state and all between them are split
// alike.
#include "frontend/ir/diagnostic.h"
#include "passes/factors.h"
#include "passes/partials.h"
#include "passes/sharding_rules.h"
#include "passes/training.h"

namespace optp {
namespace {
class Follower {
 public:
  Follower(Graph& graph, const Factors& factors) : graph_(graph), factors_(factors) {
    for (Value* v : graph_.values())
      if (v->sharding) pinned_.insert(v);
  }
  bool is_pinned(const Value& v) const { return pinned_.contains(&v); }

  void run() {
    learn();
    pin_groups();
    follow_weights();
    for (Value* v : graph_.values())
      if (!v->sharding) place(*v);
  }

 private:
  // What most of a class's values are split over; a single value that was pinned otherwise does not speak for its
  // class.
  void learn() {
    axes_.resize(factors_.size());
    from_.resize(factors_.size(), nullptr);
    for (size_t c = 0; c < factors_.size(); ++c) {
      std::map<AxisUses, std::pair<size_t, const Value*>> votes;
      for (const Factors::Place& p : factors_.info(int(c)).places) {
        if (!is_pinned(*p.value)) continue;
        const AxisUses axes = axes_at(p);
        auto& vote = votes.try_emplace(axes, 0, p.value).first->second;
        ++vote.first;
      }
      size_t most = 0;
      for (const auto& [axes, vote] : votes)
        if (vote.first > most) most = vote.first, axes_[c] = axes, from_[c] = vote.second;
    }
  }

  // None where the value's sharding names other parts.
  AxisUses axes_at(const Factors::Place& p) const {
    const auto& parts = p.value->sharding->dims[p.dim].parts;
    const auto& own = factors_.of(*p.value, p.dim).parts;
    if (parts.size() != own.size()) return {};
    return axes_of_factor(parts[p.part].factors, own[p.part], p.factor);
  }
  void pin(Value& v, const Value& like) {
    v.sharding = *like.sharding;
    v.sharding->partial.clear();
    v.sharding->reduce = Reduce::none;
    v.cause = {CauseKind::propagated, "split as its parameter", like.name};
  }
  // A parameter, its gradient, its state, and what the optimizer computes of them.
  void pin_groups() {
    for (const OfParameter& m : parameter_groups(graph_))
      if (!m.value->sharding) pin(*m.value, *m.parameter);
    // The terms of a pinned gradient take its sharding, instead of being made whole and then cut.
    for (const auto& node : llvm::reverse(graph_.nodes))
      if (node->op->is(Trait::adds_many) && node->out().sharding)
        for (Value* v : node->operands)
          if (!v->sharding && v->uses.size() == 1) pin(*v, node->out());
  }
  // If a weight is split although its class is not, the product is split, too: gathering the activation is cheaper
  // than gathering the weight.
  void follow_weights() {
    for (const auto& node : graph_.nodes) {
      Value& out = node->out();
      if (!node->op->is(Trait::product) || out.sharding) continue;
      const Rule& rule = factors_.rule(*node);
      for (unsigned k : {0u, 1u}) {
        const Value& weight = node->operand(k);
        if (!weight.is_data() || !weight.sharding) continue;
        for (size_t d = 0; d < weight.ndim(); ++d) {
          const int loop = rule.operands[k][d];
          if (loop == no_loop || !weight.sharding->dims[d].is_split()) continue;
          const auto at = llvm::find(rule.results[0], loop);
          if (at == rule.results[0].end()) continue;
          const size_t e = size_t(at - rule.results[0].begin());
          place(out);
          if (same_placement(out.sharding->dims[e], weight.sharding->dims[d])) continue;
          out.sharding->dims[e] = weight.sharding->dims[d];
          out.cause = {CauseKind::propagated, "made in parts by a weight that is held in parts", weight.name};
        }
      }
    }
  }
  void place(Value& v) const {
    if (v.sharding) return;
    Sharding s;
    v.cause = {CauseKind::unsplit, "whole: nothing it is computed with is split along its dims", ""};
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const auto& dim = factors_.of(v, d);
      s.dims.push_back(sharded(dim, [&](int c) { return axes_[size_t(c)]; }));
      for (int c : dim.classes()) {
        const Value* from = from_[size_t(c)];
        if (axes_[size_t(c)].empty()) continue;
        v.cause = {from->cause.kind, from->cause.text, from->name};
        if (v.cause.kind == CauseKind::seed) v.cause.kind = CauseKind::propagated;
      }
    }
    v.sharding = std::move(s);
  }

  Graph& graph_;
  const Factors& factors_;
  llvm::DenseSet<const Value*> pinned_;
  std::vector<AxisUses> axes_;
  std::vector<const Value*> from_;
};
}  // namespace

llvm::Error annotate_training(Graph& graph, const PassOptions&) {
  for (const Value* v : graph.data())
    if (v->is_parameter && !v->sharding)
      return error(Code::malformed)
          .what(called(*v))
          .about({.tensor = v->name})
          .expected("a sharding, as annotate gives every parameter")
          .found("none");
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  Follower follower(graph, *factors);
  follower.run();
  find_partials(graph, *factors, [&](const Value& v) { return follower.is_pinned(v); });
  return llvm::Error::success();
}
}  // namespace optp
