// Gives every value a sharding: a strategy chooses classes of factors to split, found by structure and not by names
// (Megatron-LM, arXiv:1909.08053 section 3); then partial sums are kept as far as they may go.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "passes/annotation.h"
#include "passes/class_demands.h"
#include "passes/factors.h"
#include "passes/partials.h"
#include "passes/passes.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"

namespace optp {
namespace {

class Annotator {
 public:
  Annotator(Graph& graph, const PassOptions& options, const Factors& factors)
      : graph_(graph), options_(options), factors_(factors), recogniser_(graph, factors) {}

  std::vector<AxisUses> take_axes() { return std::move(class_axes_); }
  llvm::DenseSet<const Value*> pinned() const {
    llvm::DenseSet<const Value*> out;
    for (const auto& [value, pinned] : pins_) out.insert(value);
    return out;
  }
  // Of the lines of constraints.
  llvm::ArrayRef<std::string> remarks() const { return remarks_; }
  // Of a value that nothing cuts: what stands against it, dim by dim.
  std::string why_whole(const Value& v) const {
    std::string out;
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (int c : factors_.of(v, d).classes())
        if (!recogniser_[c].rejection.empty()) {
          out += (out.empty() ? "dim " : "; dim ") + std::to_string(d) + ": " + recogniser_[c].rejection;
          break;
        }
    return out.empty() ? "no strategy or constraint splits it" : out;
  }
  llvm::Error run() {
    class_axes_.resize(factors_.size());
    class_cause_.resize(factors_.size());
    if (auto e = seed()) return e;
    if (auto e = constrain()) return e;
    cover();
    for (Value* v : graph_.values()) place(*v);
    propagate_pins();
    propagate_lookups();
    find_partials(graph_, factors_, [](const Value&) { return false; });
    const std::vector<HeldAs> held = held_by_lines();
    llvm::append_range(remarks_, cost_remarks(graph_.mesh, held));
    return llvm::Error::success();
  }

 private:
  bool is_pinned(const Value& v) const { return pins_.contains(&v); }

  using Pins = llvm::DenseMap<const Value*, std::pair<Sharding, Cause>>;
  struct ByStrategy {
    std::vector<AxisUses> axes;  // of classes
    Pins pins;
  };
  // A strategy's decisions become seeds of this annotation.
  class Seeds : public Seeding {
   public:
    Seeds(Annotator& of, const Strategy& strategy, const MeshAxis& axis)
        : Seeding(of.graph_, of.factors_, of.recogniser_, axis), of_(of), strategy_(strategy) {}
    void split(Factors::Class c, const std::string& cause) override {
      of_.class_axes_[size_t(c)] = {axis.name};
      of_.class_cause_[size_t(c)] = {CauseKind::seed, strategy_.name + (": " + cause), ""};
    }
    void split_only(Value& v, unsigned dim, const std::string& cause, const Value* from) override {
      Sharding s;
      for (unsigned d = 0; d < v.ndim(); ++d)
        s.dims.push_back(d == dim ? cut_at_majors(factors.of(v, d), {axis.name}) : unsplit(factors.of(v, d)));
      of_.pin(
          v, s,
          {from ? CauseKind::propagated : CauseKind::seed, strategy_.name + (": " + cause), from ? from->name : ""});
    }

   private:
    Annotator& of_;
    const Strategy& strategy_;
  };
  llvm::Error seed(const Strategy& strategy, const MeshAxis& axis) {
    Seeds seeds(*this, strategy, axis);
    const std::string nothing = strategy.seed(seeds);
    if (nothing.empty() || !options_.constraints.empty()) return llvm::Error::success();
    return error(Code::nothing_to_split)
        .in_file(graph_.source)
        .what(llvm::Twine("strategy ") + strategy.name + " finds nothing to split")
        .hint(nothing);
  }
  // Each axis has the strategy that is always its own, or the chosen one, which has one axis.
  llvm::Error seed() {
    const Strategy* chosen = find_strategy(options_.strategy);
    if (!chosen) return error(Code::bad_value).what("strategy " + quoted(options_.strategy)).expected(strategy_names());
    const MeshAxis* main = strategy_axis(graph_.mesh);
    size_t others = 0;
    for (const MeshAxis& axis : graph_.mesh.axes) {
      if (axis.size == 1) continue;
      const Strategy* strategy = strategy_of_axis(axis.name);
      if (!strategy) ++others;
      if (!strategy && &axis == main) strategy = chosen;
      if (!strategy) continue;
      if (auto e = seed(*strategy, axis)) return e;
    }
    const bool is_cut = main && main->size > 1;
    if (is_cut || others == 0 || !options_.constraints.empty()) return llvm::Error::success();
    return error(Code::bad_value)
        .what("mesh " + to_string(graph_.mesh))
        .what("strategy " + options_.strategy +
              " cuts over one axis, expected one that is called tensor, found several others")
        .about({.expected = "one that is called tensor", .found = "several others"})
        .hint("name one of them tensor, or say in a file of constraints what they cut");
  }

  Sharding of_classes(const Value& v) const { return of_classes(v, class_axes_); }
  Sharding of_classes(const Value& v, llvm::ArrayRef<AxisUses> class_axes) const {
    Sharding s;
    for (unsigned d = 0; d < v.ndim(); ++d)
      s.dims.push_back(sharded(factors_.of(v, d), [&](int c) { return class_axes[size_t(c)]; }));
    return s;
  }
  void pin(Value& v, Sharding s, Cause cause) { pins_[&v] = {std::move(s), std::move(cause)}; }

  // What constraints are measured by.
  ByStrategy without_lines() {
    const auto axes = class_axes_;
    const auto causes = class_cause_;
    cover();
    ByStrategy out{std::exchange(class_axes_, axes), pins_};
    class_cause_ = causes;
    return out;
  }
  llvm::Error constrain() {
    by_strategy_ = without_lines();
    auto resolved = resolve_constraints(graph_, factors_, recogniser_, options_.constraints);
    if (!resolved) return resolved.takeError();
    remarks_ = std::move(resolved->remarks);
    lines_ = std::move(resolved->lines);
    auto demands = class_demands(factors_, recogniser_, resolved->list);
    if (!demands) return demands.takeError();
    for (size_t c = 0; c < demands->size(); ++c)
      if (const ClassDemand& d = (*demands)[c]; d.by) {
        class_axes_[c] = d.axes;
        class_cause_[c] = cause_of(*d.by->by);
        line_of_class_[int(c)] = d.by->by;
        constrained_.insert(int(c));
      }
    for (const ValueConstraint& w : resolved->list)
      if (!w.by->held) drop_followers(*w.value);
    for (const ValueConstraint& w : resolved->list) {
      pin(*w.value, asked_of(w), cause_of(*w.by));
      line_of_pin_[w.value] = w.by;
      say_if_given_whole(w);
    }
    for (Value* v : graph_.values())
      if (auto e = settle(*v)) return e;
    return llvm::Error::success();
  }
  static Cause cause_of(const Constraint& c) { return {CauseKind::constraint, "constraint " + text_of(c), ""}; }
  // What the strategy decided of other values because of this one.
  void drop_followers(const Value& v) {
    llvm::SmallVector<const Value*, 4> followers;
    for (const auto& [value, pinned] : pins_)
      if (pinned.second.from == v.name) followers.push_back(value);
    for (const Value* value : followers) pins_.erase(value);
  }
  // A word that keeps an activation whole is about the weights' axes: a batch that is cut stays so.
  Sharding asked_of(const ValueConstraint& w) const {
    if (w.value->is_data() || !w.sharding.is_replicated() || w.by->written) return w.sharding;
    Sharding s = of_classes(*w.value);
    for (DimSharding& d : s.dims)
      for (ProductSharding& part : d.parts)
        for (FactorSharding& f : part.factors)
          llvm::erase_if(f.axes, [](const AxisUse& use) { return !strategy_of_axis(use.axis); });
    return s;
  }
  void say_if_given_whole(const ValueConstraint& w) {
    if (w.value->is_data() || w.sharding.is_replicated() || options_.outputs != OutputLayout::whole) return;
    for (const GraphOutput& o : graph_.outputs)
      if (o.value == w.value)
        remarks_.push_back(text_of(*w.by) + ": output " + quoted(o.name) +
                           " is given whole all the same (--outputs sharded gives it as it is cut)");
  }
  // A mesh axis cuts one dim of a tensor. What a constraint cuts takes the axis from what the strategy cut beside it.
  llvm::Error settle(const Value& v) {
    if (is_pinned(v)) return llvm::Error::success();
    struct Owner {
      int cls;
      unsigned dim;
      size_t part;
    };
    llvm::StringMap<Owner> owners;
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (size_t p = 0; p < factors_.of(v, d).parts.size(); ++p)
        for (int c : factors_.of(v, d).parts[p].classes)
          for (const AxisUse& use : AxisUses(class_axes_[size_t(c)])) {
            Owner& owner = owners.try_emplace(use.axis, Owner{c, d, p}).first->second;
            // One may cut several parts of a dim.
            if (owner.cls == c || (owner.dim == d && owner.part != p)) continue;
            if (constrained_.contains(c) && constrained_.contains(owner.cls))
              return error(Code::bad_value)
                  .what("mesh axis " + use.axis + " cuts two dims of " + called(v) + ", by " +
                        class_cause_[size_t(owner.cls)].text + " and by " + class_cause_[size_t(c)].text)
                  .expected("one dim")
                  .about({.tensor = v.name});
            const int loser = constrained_.contains(c) ? owner.cls : c;
            if (loser == owner.cls) owner = {c, d, p};
            class_axes_[size_t(loser)].clear();
            class_cause_[size_t(loser)] = {};
          }
    return llvm::Error::success();
  }

  // What is repeated is held where its copies in a finer class are (passes/repeat_heads.cpp).
  void cover() {
    for (const auto& node : graph_.nodes)
      for (const LoopCover& cover : factors_.rule(*node).covers) {
        const auto fine = factors_.of_loop(*node, cover.fine).classes(),
                   coarse = factors_.of_loop(*node, cover.coarse).classes();
        if (fine.size() != 1 || coarse.size() != 1) continue;
        const AxisUses axes = covering(class_axes_[size_t(fine[0])], cover.times);
        AxisUses& own = class_axes_[size_t(coarse[0])];
        if (axes.empty() || !own.empty() || constrained_.contains(coarse[0]) || !is_free_for(coarse[0], axes)) continue;
        own = axes;
        class_cause_[size_t(coarse[0])] = class_cause_[size_t(fine[0])];
        class_cause_[size_t(coarse[0])].text += "; key/value heads where their queries are";
      }
  }
  // No other dim of its values is cut over these axes.
  bool is_free_for(Factors::Class c, const AxisUses& axes) const {
    return llvm::all_of(factors_.info(c).places, [&](const Factors::Place& p) {
      if (is_pinned(*p.value)) return true;
      for (unsigned d = 0; d < p.value->ndim(); ++d)
        for (int other : factors_.of(*p.value, d).classes())
          if (d != p.dim && share_an_axis(class_axes_[size_t(other)], axes)) return false;
      return true;
    });
  }

  void place(Value& v) {
    if (auto it = pins_.find(&v); it != pins_.end()) {
      v.sharding = it->second.first;
      v.cause = it->second.second;
      return;
    }
    v.sharding = of_classes(v);
    v.cause = {};
    for (unsigned d = 0; d < v.ndim(); ++d)
      for (int c : factors_.of(v, d).classes()) {
        if (class_axes_[size_t(c)].empty() && (!constrained_.contains(c) || !v.cause.text.empty())) continue;
        const auto& first = factors_.info(c).places.front();
        v.cause = class_cause_[size_t(c)];
        if (first.value == &v) continue;
        v.cause.from = first.value->name;
        if (v.cause.kind == CauseKind::seed) v.cause.kind = CauseKind::propagated;
      }
    if (v.cause.text.empty()) v.cause = {CauseKind::unsplit, "whole: " + why_whole(v), ""};
  }

  // Of the lines of constraints: what they change of how data is held, and results are that they name.
  std::vector<HeldAs> held_by_lines() const {
    std::vector<HeldAs> out;
    for (const Value* v : graph_.data()) {
      HeldAs held{.value = v, .by = line_of_pin_.lookup(v), .before = by_strategy_sharding(*v), .after = *v->sharding};
      held.is_named = held.by != nullptr;
      for (unsigned d = 0; d < v->ndim(); ++d)
        for (Factors::Class c : factors_.of(*v, d).classes()) {
          const ConstraintLine* line = line_of_class_.lookup(c);
          if (!held.by) held.by = line;
          held.follows |= line && !held.by->held;
        }
      if (!held.by) continue;
      held.is_moved = is_held_otherwise(*v);
      out.push_back(std::move(held));
    }
    for (const Value* v : graph_.values())
      if (const ConstraintLine* line = line_of_pin_.lookup(v); line && !v->is_data())
        out.push_back({.value = v, .by = line, .before = by_strategy_sharding(*v), .after = *v->sharding});
    return out;
  }
  Sharding by_strategy_sharding(const Value& v) const {
    const auto pinned = by_strategy_.pins.find(&v);
    return pinned == by_strategy_.pins.end() ? of_classes(v, by_strategy_.axes) : pinned->second.first;
  }
  // A node that uses it computes with another part of it than a device holds. One that needs less takes its slice.
  bool is_held_otherwise(const Value& v) const {
    return llvm::any_of(v.uses, [&](const Use& use) {
      const Rule& rule = factors_.rule(*use.node);
      const NodeAxes axes = node_axes(*use.node, factors_);
      for (unsigned d = 0; d < v.ndim(); ++d) {
        const int loop = rule.operands[use.operand][d];
        const DimSharding& own = v.sharding->dims[d];
        if (own.is_split() &&
            (loop == no_loop || !same_placement(own, sharded(factors_.of_loop(*use.node, loop), axes))))
          return true;
      }
      return false;
    });
  }

  // A product whose activation comes split along what it sums takes its weight split the same way: no gather is needed.
  void propagate_pins() {
    for (auto& node : graph_.nodes) {
      if (!node->op->is(Trait::product)) continue;
      const Rule& rule = factors_.rule(*node);
      for (unsigned k : {0u, 1u}) {
        Value &x = node->operand(k), &w = node->operand(1 - k);
        if (!w.is_data() || w.uses.size() != 1 || pins_.contains(&w) || !w.sharding->is_replicated()) continue;
        for (size_t d = 0; d < rule.operands[k].size(); ++d) {
          const int loop = rule.operands[k][d];
          if (loop == no_loop || rule.loops[size_t(loop)].reduce == Reduce::none || !x.sharding->dims[d].is_split())
            continue;
          for (size_t e = 0; e < rule.operands[1 - k].size(); ++e)
            if (rule.operands[1 - k][e] == loop) {
              w.sharding->dims[e] = x.sharding->dims[d];
              w.cause = {CauseKind::propagated, "row-parallel: its activation comes split along what the product sums",
                         x.name};
            }
        }
      }
    }
  }

  // What is looked up in a table that is held cut along another dim than its rows is made cut so: the rows that were
  // looked up travel, not the table. Where a product uses the table, too, it travels for that.
  void propagate_lookups() {
    for (auto& node : graph_.nodes) {
      if (!node->op->is(Trait::looks_up)) continue;
      const Rule& rule = factors_.rule(*node);
      const Value& table = node->operand(0);
      Value& rows = node->out();
      if (!pins_.contains(&table) || table.uses.size() != 1 || pins_.contains(&rows) || !rows.sharding->is_replicated())
        continue;
      for (size_t d = 0; d < rule.operands[0].size(); ++d)
        for (size_t e = 0; e < rule.results[0].size(); ++e)
          if (rule.operands[0][d] != no_loop && rule.operands[0][d] == rule.results[0][e] &&
              table.sharding->dims[d].is_split()) {
            rows.sharding->dims[e] = table.sharding->dims[d];
            rows.cause = {CauseKind::propagated, "rows of a table that is cut along this dim", table.name};
          }
    }
  }

  Graph& graph_;
  const PassOptions& options_;
  const Factors& factors_;
  Recogniser recogniser_;
  std::vector<AxisUses> class_axes_;
  std::vector<Cause> class_cause_;
  llvm::DenseSet<int> constrained_;  // classes
  Pins pins_;
  ByStrategy by_strategy_;
  std::vector<ConstraintLine> lines_;
  llvm::DenseMap<const Value*, const ConstraintLine*> line_of_pin_;
  llvm::DenseMap<int, const ConstraintLine*> line_of_class_;
  std::vector<std::string> remarks_;
};
}  // namespace

llvm::SmallVector<MeshAxis, 2> idle_axes(const Graph& graph) {
  llvm::StringSet<> used;
  for (const Value* v : graph.values())
    if (v->sharding)
      for (const AxisUse& use : v->sharding->axes()) used.insert(use.axis);
  llvm::SmallVector<MeshAxis, 2> out;
  for (const MeshAxis& axis : graph.mesh.axes)
    if (axis.size > 1 && !used.contains(axis.name)) out.push_back(axis);
  return out;
}

static void say(Graph& graph, const PassOptions& options, const Annotator& annotator) {
  const auto remark = [&](std::string text, RemarkKind kind) {
    graph.remarks.push_back({"annotate", std::move(text), kind});
  };
  for (const std::string& text : annotator.remarks()) remark(text, RemarkKind::constraint);
  for (std::string& text : copies_of_heads(graph)) remark(std::move(text), RemarkKind::note);
  const auto why = [&](const Value& v) { return annotator.why_whole(v); };
  if (std::string whole = left_whole(graph, options, why); !whole.empty())
    remark(std::move(whole), RemarkKind::left_whole);
  for (const MeshAxis& axis : idle_axes(graph))
    remark("nothing is cut over the mesh axis " + axis.name + ": its " + std::to_string(axis.size) +
               " devices do the same",
           RemarkKind::note);
}

llvm::Expected<Annotation> annotate(Graph& graph, const PassOptions& options) {
  // Of a graph that is annotated again, after what was decided first had it rewritten.
  llvm::erase_if(graph.remarks, [](const Remark& r) { return r.pass == "annotate"; });
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  Annotation out{std::move(*factors), {}, {}};
  Annotator annotator(graph, options, out.factors);
  if (auto e = annotator.run()) return e;
  say(graph, options, annotator);
  out.axes = annotator.take_axes(), out.pinned = annotator.pinned();
  return out;
}
}  // namespace optp
