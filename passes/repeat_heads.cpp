// Heads of keys and values that several heads of queries share, on more devices than there are such heads: cut by their
// own number, 2 heads would leave 3 of 5 devices without work. So the views that repeat them become one op, whose loop
// over the 8 heads of queries is a class of its own; that one is cut, and the heads of keys and values are held where
// their queries are, in copies where those are on several devices (frontend/ir/axis_use.h).
//   before   %a = reshape(%k) : [b, 2, 1, s, d]   %e = expand(%a) : [b, 2, 4, s, d]   %r = reshape(%e) : [b, 8, s, d]
//   after    %r = repeat(%k) {axis = 1, times = 4}
// Not where something else sees the two factors apart, such as scores of [b, 2, 4, s, t]: its 8 are no single factor.
#include "frontend/ir/builder.h"
#include "llvm/ADT/MapVector.h"
#include "passes/annotation.h"
#include "passes/partials.h"

namespace optp {
namespace {
struct Repetition {
  Node* expand;
  const Value* source;
  size_t axis;
  int64_t times;
  Factors::Class heads, copies;
};

class Finder {
 public:
  Finder(Graph& graph, const Factors& factors) : graph_(graph), factors_(factors) {}

  // By the class of the heads that are repeated.
  llvm::MapVector<Factors::Class, llvm::SmallVector<Repetition, 4>> run() const {
    llvm::MapVector<Factors::Class, llvm::SmallVector<Repetition, 4>> out;
    for (auto& node : graph_.nodes)
      if (auto found = at(*node); found && is_joined(node->out())) out[found->heads].push_back(*found);
    return out;
  }
  // Do all values that have the factor of copies have it behind the heads', or in these repetitions? Then all that
  // takes these is views.
  bool is_within(llvm::ArrayRef<Repetition> all) const {
    const auto [heads, copies] = std::pair(all[0].heads, all[0].copies);
    if (llvm::any_of(all, [&](const Repetition& r) { return r.times != all[0].times || r.copies != copies; }))
      return false;
    return llvm::all_of(factors_.info(copies).places, [&](const Factors::Place& p) {
      const auto& classes = factors_.of(*p.value, p.dim).parts[p.part].classes;
      if (p.factor > 0 && classes[p.factor - 1] == heads) return true;
      return llvm::any_of(all, [&](const Repetition& r) { return &r.expand->out() == p.value && r.axis + 1 == p.dim; });
    });
  }

 private:
  bool is_joined(const Value& repeated) const {
    return !graph_.is_output(repeated) &&
           llvm::all_of(repeated.uses, [](const Use& use) { return use.node->op->is(Trait::reshapes); });
  }
  std::optional<Factors::Class> only_class(const Value& v, size_t dim) const {
    const auto classes = factors_.of(v, unsigned(dim)).classes();
    return classes.size() == 1 ? std::optional(classes[0]) : std::nullopt;
  }
  // An expand of what a reshape gave one dim more, of extent 1.
  std::optional<Repetition> at(Node& expand) const {
    if (!expand.op->is(Trait::repeats)) return std::nullopt;
    const Node* apart = expand.operand(0).producer;
    if (!apart || !apart->op->is(Trait::reshapes)) return std::nullopt;
    Repetition r{.expand = &expand, .source = &apart->operand(0)};
    const Dims &x = r.source->type.dims, &narrow = apart->out().type.dims, &wide = expand.out().type.dims;
    if (wide.size() != x.size() + 1 || narrow.size() != wide.size()) return std::nullopt;
    size_t copies_at = 0;
    while (copies_at < wide.size() && narrow[copies_at] == wide[copies_at]) ++copies_at;
    const auto times = copies_at < wide.size() ? wide[copies_at].constant() : std::nullopt;
    if (!times || *times < 2 || copies_at == 0) return std::nullopt;
    r.axis = copies_at - 1;
    Dims one = x, full = x;
    one.insert(one.begin() + long(copies_at), Dim(1));
    full.insert(full.begin() + long(copies_at), wide[copies_at]);
    if (narrow != one || wide != full) return std::nullopt;
    const auto heads = only_class(*r.source, r.axis), copies = only_class(expand.out(), copies_at);
    if (!heads || !copies) return std::nullopt;
    r.times = *times, r.heads = *heads, r.copies = *copies;
    return r;
  }

  Graph& graph_;
  const Factors& factors_;
};

// The views that join the two factors take the repeat; those that join nothing more are it.
llvm::Error make_repeat(Graph& graph, const Repetition& r) {
  Node &expand = *r.expand, &apart = *expand.operand(0).producer;
  Builder build(graph);
  build.set_fold(false);
  build.before(&expand);
  build.at(expand.name, expand.origin, expand.module);
  build.phase(expand.phase);
  auto made = build.create("repeat", {apart.operands[0]}, {{"axis", int64_t(r.axis)}, {"times", r.times}},
                           expand.out().name + ".repeat");
  if (!made) return made.takeError();
  const auto uses = expand.out().uses;
  for (const Use& use : uses) {
    Value& joined = use.node->out();
    if (joined.type.dims != (*made)->type.dims) {
      graph.set_operand(*use.node, use.operand, **made);
      continue;
    }
    const std::string name = joined.name;
    graph.replace_all_uses(joined, **made);
    graph.erase(*use.node);
    graph.rename(**made, name);
  }
  graph.erase(expand);
  if (apart.out().uses.empty() && !graph.is_output(apart.out())) graph.erase(apart);
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<bool> repeat_heads(Graph& graph, const Annotation& annotation, const PassOptions& options) {
  bool changed = false;
  const Factors& factors = annotation.factors;
  const Finder finder(graph, factors);
  for (const auto& [heads, all] : finder.run()) {
    const AxisUses& axes = annotation.axes[size_t(heads)];
    const auto count = factors.info(heads).extent.constant();
    if (axes.size() != 1 || !count || *count >= graph.mesh.axis_size(axes[0].axis) || !finder.is_within(all)) continue;
    if (!options.may_rewrite()) break;
    for (const Repetition& r : all)
      if (auto e = make_repeat(graph, r)) return e;
    changed = true;
  }
  return changed;
}

std::vector<std::string> copies_of_heads(const Graph& graph) {
  std::vector<std::string> out;
  for (const auto& node : graph.nodes) {
    auto rule = node->op->rule ? node->op->rule(*node) : llvm::Expected<Rule>(Rule());
    if (!rule) {
      llvm::consumeError(rule.takeError());
      continue;
    }
    if (rule->covers.empty()) continue;
    const size_t axis = size_t(node->integer("axis"));
    const Value &heads = node->operand(0), &queries = node->out();
    const DimSharding& held = heads.sharding->dims[axis];
    const AxisUses axes = held.axes();
    const auto count = heads.type.dims[axis].constant();
    if (axes.empty() || !axes[0].is_cover() || !count) continue;
    int64_t all = 0;
    for (int64_t k = 0; k < graph.mesh.devices(); ++k)
      all += bind_rank(Dim::part(*count, axes), graph.mesh, k).constant().value_or(0);
    const int64_t along = graph.mesh.axis_size(axes[0].axis);
    all = all * along / graph.mesh.devices();
    std::string text = std::to_string(along) + " devices along " + axes[0].axis + " share " +
                       queries.type.dims[axis].text() + " heads of queries and " + std::to_string(*count) +
                       " of keys and values: each holds the keys and values of its queries, " + std::to_string(all) +
                       " heads in all, " + std::to_string(all - *count) + " of them copies";
    if (!llvm::is_contained(out, text)) out.push_back(std::move(text));
  }
  return out;
}
}  // namespace optp
