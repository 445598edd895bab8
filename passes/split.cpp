// From a graph whose values have shardings to one SPMD graph: every rank runs it, on local shapes, written
// `part(n, axes)`. At each edge where a value is not held as an op needs it, it is resharded; the same reshard is made
// once.
//   before  %y = contract(%x: f32[b, 3072] [_, tensor], %w: f32[3072, 768] [tensor, _]) {loops = "b k, k n -> b n"}
//   after   %y = contract(%x: f32[b, part(3072, tensor)], %w: f32[part(3072, tensor), 768]) {loops = "b k, k n -> b n"}
//           %y.all_reduce = all_reduce(%y)
#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "passes/factors.h"
#include "passes/lower_repeat.h"
#include "passes/passes.h"
#include "passes/reshard.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"

namespace optp {
namespace {

class Splitter {
 public:
  Splitter(const Graph& from, const PassOptions& options, const Factors& factors, Graph& to)
      : from_(from), options_(options), factors_(factors), to_(to), build_(to) {
    build_.set_fold(false);
  }

  llvm::Error run() {
    for (const Value* v : from_.inputs) {
      Value& copy = to_.add_input(v->name, {v->type.dtype, local_dims(v->type.dims, *v->sharding)});
      carry(*v, copy, *v->sharding);
    }
    for (const Value* v : from_.data()) {
      Value& copy = to_.add_data(v->name, v->data);
      copy.type.dims = local_dims(v->type.dims, *v->sharding);
      copy.is_parameter = v->is_parameter;
      copy.frozen = v->frozen;
      copy.aliases = v->aliases;
      copy.transposed_aliases = v->transposed_aliases;
      carry(*v, copy, *v->sharding);
    }
    for (const auto& node : from_.nodes)
      if (auto e = split(*node)) return e;
    for (const GraphOutput& o : from_.outputs) {
      auto v = give(o);
      if (!v) return v.takeError();
      to_.outputs.push_back({o.name, *v});
    }
    return llvm::Error::success();
  }

 private:
  struct Held {
    Value* value;
    Sharding sharding;
    Phase phase;  // in which it was made
  };
  void carry(const Value& from, Value& to, const Sharding& sharding) {
    to.sharding = sharding;
    to.logical_dims = from.type.dims;
    to.cause = from.cause;
    held_[&from].push_back({&to, sharding, phase_});
  }
  // What the next run takes in comes as that takes it, and a gradient stays where its parameter is.
  llvm::Expected<Value*> give(const GraphOutput& o) {
    if (const auto at = llvm::find_if(from_.updates, [&](const Update& u) { return u.output == o.name; });
        at != from_.updates.end())
      return as(*o.value, *from_.find(at->input)->sharding, "'" + at->input + "' is held so");
    Sharding wanted = *o.value->sharding;
    wanted.partial.clear();
    wanted.reduce = Reduce::none;
    const bool stays = llvm::any_of(from_.states, [&](const State& s) { return s.output == o.name; }) ||
                       llvm::any_of(from_.gradients, [&](const GradientOutput& g) { return g.output == o.name; });
    if (options_.outputs == OutputLayout::whole && !stays) wanted = replicated(o.value->ndim());
    return as(*o.value, wanted, "output '" + o.name + "' is given whole");
  }
  // The value held as wanted: as it is, as it was resharded before, or resharded now from the form it was made in.
  llvm::Expected<Value*> as(const Value& v, const Sharding& wanted, llvm::StringRef reason) {
    auto& forms = held_[&v];
    for (const Held& h : forms)
      if (same_placement(h.sharding, wanted) && is_kept(v, h)) return h.value;
    // Forms stand in the order in which they were made; the last is usually reduced already. A user that accepts
    // partial sums takes the last one that is still partial over those axes.
    auto from = forms.rbegin();
    while (from != forms.rend() && (holds_less(from->sharding) || !is_kept(v, *from) ||
                                    (wanted.is_partial() && !is_sum_of(wanted, from->sharding))))
      ++from;
    if (from == forms.rend())
      return error(Code::bug).what("no partial form of '" + v.name + "' exists").about({.tensor = v.name});
    const Held base = *from;
    auto made = reshard(build_, *base.value, v.type.dims, base.sharding, wanted, reason);
    if (!made) return made.takeError();
    held_[&v].push_back({*made, wanted, phase_});
    return *made;
  }
  // What is cut only to be kept in less room (parameters over the axis data, activations along the sequence) and was
  // gathered for one pass is let go between the passes, and gathered again.
  bool is_kept(const Value& v, const Held& form) const {
    if (form.phase == phase_) return true;
    const AxisUses axes = v.sharding->axes();
    auto is_gathered_over = [&](const AxisUse& use) {
      return llvm::is_contained(axes, use) && !llvm::is_contained(form.sharding.axes(), use);
    };
    if (v.is_data())
      return llvm::none_of(axes,
                           [&](const AxisUse& use) { return strategy_of_axis(use.axis) && is_gathered_over(use); });
    return !options_.sequence_parallel || !is_gathered_over(strategy_axis(from_.mesh)->name);
  }

  // Whether addends over all axes of the one, and perhaps over others, are held as the other.
  static bool is_sum_of(const Sharding& one, const Sharding& other) {
    return one.reduce == other.reduce &&
           llvm::all_of(one.partial, [&](const auto& axis) { return llvm::is_contained(other.partial, axis); });
  }
  // A form without copies that one sum was made of: what has the copies is beside it.
  static bool holds_less(const Sharding& s) {
    return llvm::any_of(s.axes(), [](const AxisUse& use) { return use.once; });
  }

  // One node while it is split.
  struct Splitting {
    const Node& node;
    const Rule& rule;
    NodeAxes axes;
    bool passes_on = false;                        // an operand's partial sum
    PartialState made = {};                        // what its loops leave to be reduced
    llvm::SmallVector<Value*, 3> operands = {};    // held as the node needs them
    llvm::SmallVector<Sharding, 1> computed = {};  // its results, before they are reduced
  };
  llvm::Error split(const Node& node) {
    Splitting s{
        .node = node, .rule = factors_.rule(node), .axes = node.op->rule ? node_axes(node, factors_) : NodeAxes()};
    build_.at(node.name, node.origin);
    build_.phase(phase_ = node.phase);
    if (auto e = take_operands(s)) return e;
    Node& copy = add_copy(s);
    if (!s.rule.covers.empty()) return lower(s, copy);
    if (auto e = localize(s, copy)) return e;
    llvm::SmallVector<Value*, 1> results;
    for (const auto& r : copy.results) results.push_back(r.get());
    return give_results(s, results);
  }
  // What repeats over a covered loop becomes the views that it is, of the rank's own range.
  llvm::Error lower(const Splitting& s, Node& copy) {
    const LoopCover& cover = s.rule.covers[0];
    auto first = [&](int loop) {
      const DimSharding own = of_loop(s, loop);
      return LoopSharding{own}.start(0);
    };
    auto value = lower_repeat(build_, copy, s.rule, first(cover.fine) - Dim(cover.times) * first(cover.coarse));
    if (!value) return value.takeError();
    return give_results(s, {*value});
  }
  DimSharding of_loop(const Splitting& s, int loop) const {
    if (s.passes_on && loop != no_loop) return sharded(factors_.of_loop(s.node, loop), s.axes);
    return loop_sharding(s.node, factors_, loop, s.axes);
  }
  Sharding of_loops(const Splitting& s, llvm::ArrayRef<int> loops) const {
    Sharding sharding;
    for (int loop : loops) sharding.dims.push_back(of_loop(s, loop));
    return sharding;
  }
  llvm::Error take_operands(Splitting& s) {
    llvm::SmallVector<PartialState, 3> states;
    for (const Value* v : s.node.operands) states.push_back({v->sharding->reduce, v->sharding->partial});
    llvm::SmallVector<bool, 3> accepts;
    s.made = partial_result(s.node, s.rule, factors_, s.axes, states, accepts);
    for (size_t k = 0; k < states.size(); ++k) s.passes_on |= accepts[k] && states[k].is_partial();
    if (!s.passes_on) hold_once(s.axes, s.node, factors_);
    for (size_t k = 0; k < s.node.operands.size(); ++k) {
      Sharding wanted = of_loops(s, s.rule.operands[k]);
      if (accepts[k] && states[k].is_partial()) {
        wanted.partial = states[k].axes;
        wanted.reduce = states[k].reduce;
      }
      auto v = as(*s.node.operands[k], wanted, reason_of(s.node, *s.node.operands[k]));
      if (!v) return v.takeError();
      s.operands.push_back(*v);
    }
    return llvm::Error::success();
  }
  Node& add_copy(Splitting& s) {
    llvm::SmallVector<Type, 1> types;
    llvm::SmallVector<std::string, 1> names;
    for (size_t k = 0; k < s.node.results.size(); ++k) {
      const Value& result = *s.node.results[k];
      Sharding sharding = of_loops(s, s.rule.results[k]);
      sharding.partial = s.made.axes;
      sharding.reduce = s.made.reduce;
      types.push_back({result.type.dtype, local_dims(result.type.dims, sharding)});
      names.push_back(result.name);
      // A name means the same in the whole graph and in a rank's: what was made on the way gives it up.
      if (Value* made = to_.find(result.name)) to_.rename(*made, to_.unique_name(result.name));
      s.computed.push_back(std::move(sharding));
    }
    Node& copy = to_.add_node(*s.node.op, s.operands, types, names);
    copy.name = s.node.name;
    copy.origin = s.node.origin;
    copy.phase = s.node.phase;
    copy.attributes = s.node.attributes;
    return copy;
  }
  // An attribute that speaks of a split loop (a shape, an offset) becomes the rank's own.
  llvm::Error localize(const Splitting& s, Node& copy) const {
    if (!s.node.op->localize) return llvm::Error::success();
    llvm::SmallVector<DimSharding, 6> loops;
    for (size_t k = 0; k < s.rule.loops.size(); ++k) loops.push_back(of_loop(s, int(k)));
    if (llvm::none_of(loops, [](const DimSharding& d) { return d.is_split(); })) return llvm::Error::success();
    return s.node.op->localize(copy, s.rule, {loops});
  }
  llvm::Error give_results(const Splitting& s, llvm::ArrayRef<Value*> results) {
    for (size_t k = 0; k < s.node.results.size(); ++k) {
      const Value& result = *s.node.results[k];
      carry(result, *results[k], s.computed[k]);
      // A sum that no user accepts partial is reduced here, once; likewise a result whose sharding a constraint fixes.
      if (same_placement(s.computed[k], *result.sharding)) continue;
      auto v =
          as(result, *result.sharding,
             s.made.is_partial() ? sum_reason(s.node, s.made, s.computed[k]) : std::string("required by a constraint"));
      if (!v) return v.takeError();
    }
    return llvm::Error::success();
  }
  static std::string sum_reason(const Node& node, const PartialState& made, const Sharding& computed) {
    if (has_cover(computed.axes())) return "the gradients of copies that several devices hold are parts of a sum";
    if (node.phase == Phase::loss && made.reduce == Reduce::max)
      return "largest logit of each device's part of the vocabulary";
    if (node.phase == Phase::loss) return "each device has the terms of its part of the vocabulary";
    if (node.phase == Phase::backward && node.op->is(Trait::product))
      return "gradient of a column-parallel product's input: each device has its columns' part";
    if (node.phase == Phase::backward) return "the gradients of a value's several users are parts of a sum";
    if (node.op->is(Trait::product)) return "row-parallel product: each device has summed its part of the inner dim";
    if (node.phase == Phase::optimizer) return "the squared norm of gradients that are held in parts";
    if (node.op->is(Trait::looks_up))
      return "vocab-parallel lookup: each device has the rows it holds, zeros for the others";
    if (made.reduce != Reduce::sum)
      return std::string("each device has the ") + (made.reduce == Reduce::max ? "largest" : "smallest") +
             " of its part";
    return "each device has a part of the sum";
  }
  static std::string reason_of(const Node& node, const Value& v) {
    if (v.sharding->is_partial()) return describe(node) + " can't take a partial sum";
    return describe(node) + " needs this layout";
  }

  const Graph& from_;
  const PassOptions& options_;
  const Factors& factors_;
  Graph& to_;
  Builder build_;
  Phase phase_ = Phase::forward;  // of the node that is being split
  llvm::DenseMap<const Value*, llvm::SmallVector<Held, 2>> held_;
};

llvm::Error is_annotated(const Graph& graph) {
  auto look = [](const Value& v) -> llvm::Error {
    if (v.sharding) return llvm::Error::success();
    return error(Code::malformed)
        .what(called(v))
        .about({.tensor = v.name})
        .expected("a sharding, as annotate gives every value")
        .found("none");
  };
  for (const Value* v : graph.inputs)
    if (auto e = look(*v)) return e;
  for (const Value* v : graph.data())
    if (auto e = look(*v)) return e;
  for (const auto& node : graph.nodes)
    for (const auto& r : node->results)
      if (auto e = look(*r)) return e;
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<std::unique_ptr<Graph>> split(const Graph& graph, const PassOptions& options) {
  if (auto e = is_annotated(graph)) return e;
  auto factors = Factors::of(graph);
  if (!factors) return factors.takeError();
  auto out = std::make_unique<Graph>();
  out->name = graph.name;
  out->source = graph.source;
  out->guards = graph.guards;
  out->states = graph.states;
  out->updates = graph.updates;
  out->gradients = graph.gradients;
  out->remarks = graph.remarks;
  out->mesh = graph.mesh;
  if (auto e = Splitter(graph, options, *factors, *out).run()) return e;
  return out;
}
}  // namespace optp
