#include "passes/constraints.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/GlobPattern.h"
#include "passes/strategy.h"

namespace optp {
namespace {
Diagnostic wrong(const Constraint& c) {
  return error(Code::bad_value).at(c.place).what(quoted(c.pattern) + " = " + quoted(c.sharding));
}
// "[_, tensor]", "[_, (tensor _)]": one word a dim, or the words of its factors in parentheses.
llvm::Expected<Sharding> sharding_as_written(const Graph& graph, const Factors& factors, const Value& v,
                                             const Constraint& c) {
  auto fail = [&](const llvm::Twine& what) { return wrong(c).what(what).about({.tensor = v.name}); };
  llvm::StringRef text = llvm::StringRef(c.sharding).trim();
  if (!text.consume_front("[") || !text.consume_back("]"))
    return wrong(c).expected("colwise, rowwise, embedding_rowwise, replicate or a sharding such as [_, tensor]");
  Sharding s;
  llvm::SmallVector<llvm::StringRef, 4> words;
  if (!text.trim().empty()) text.split(words, ',');
  if (words.size() != v.ndim())
    return wrong(c)
        .expected(llvm::Twine(v.ndim()) + " dims for " + quoted(v.name) + " " + to_string(v.type.dims))
        .found(words.size())
        .about({.tensor = v.name});
  Axes used;
  for (unsigned d = 0; d < words.size(); ++d) {
    llvm::StringRef word = words[d].trim();
    const auto& f = factors.of(v, d);
    DimSharding dim;
    for (Dim e : f.extents) dim.factors().push_back({e, {}});
    llvm::SmallVector<llvm::StringRef, 4> parts;
    const bool grouped = word.consume_front("(") && word.consume_back(")");
    if (grouped)
      word.split(parts, ' ', -1, false);
    else
      parts.push_back(word);
    for (size_t k = 0; k < parts.size(); ++k) {
      if (parts[k] == "_") continue;
      Axes axes;
      llvm::SmallVector<llvm::StringRef, 2> names;
      parts[k].split(names, '*');
      for (llvm::StringRef name : names) {
        if (!graph.mesh.find(name)) return fail("mesh " + to_string(graph.mesh) + " has no axis " + quoted(name));
        if (llvm::is_contained(used, name.str())) return fail("axis " + quoted(name) + " is used twice");
        used.push_back(name.str());
        axes.push_back(name.str());
      }
      if (k >= dim.factors().size())
        return fail("dim " + llvm::Twine(d) + " of " + quoted(v.name) + " has " + llvm::Twine(dim.factors().size()) +
                    " factors");
      dim.factors()[k].axes = axes;
    }
    s.dims.push_back(std::move(dim));
  }
  return s;
}

// Columns and rows as PyTorch and Hugging Face mean them: of the layer's outputs and of its inputs, whatever the
// layout.
llvm::Expected<Sharding> sharding_of_layer(const Graph& graph, const Factors& factors, const Value& v,
                                           const Constraint& c, bool by_column) {
  auto fail = [&](const llvm::Twine& what) { return wrong(c).what(what).about({.tensor = v.name}); };
  const MeshAxis* axis = strategy_axis(graph.mesh);
  if (!axis) return fail("mesh " + to_string(graph.mesh) + " has no axis 'tensor'");
  Sharding s = replicated(v.ndim());
  for (unsigned d = 0; d < v.ndim(); ++d)
    for (Dim e : factors.of(v, d).extents) s.dims[d].factors().push_back({e, {}});
  for (const Use& use : v.uses) {
    const Rule& rule = factors.rule(*use.node);
    if (!use.node->op->is(Trait::product)) {
      if (by_column && v.ndim() == 1) {  // a column-parallel layer's bias
        s.dims[0].factors()[0].axes = {axis->name};
        return s;
      }
      continue;
    }
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const int loop = rule.operands[use.operand][d];
      if (loop == no_loop || llvm::is_contained(rule.operands[1 - use.operand], loop) == by_column) continue;
      if (!by_column && rule.loops[size_t(loop)].reduce == Reduce::none) continue;
      s.dims[d].factors()[0].axes = {axis->name};
      return s;
    }
  }
  if (!by_column && v.ndim() == 1) return s;  // a row-parallel layer's bias is whole
  return fail(quoted(v.name) + " is no layer's weight");
}
}  // namespace

llvm::Expected<std::vector<std::pair<Value*, Sharding>>> resolve_constraint(const Graph& graph, const Factors& factors,
                                                                            const Constraint& c) {
  auto glob = llvm::GlobPattern::create(c.pattern);
  if (!glob)
    return error(Code::bad_value)
        .at(c.place)
        .what("pattern " + quoted(c.pattern))
        .what(llvm::toString(glob.takeError()));
  std::vector<std::pair<Value*, Sharding>> out;
  auto matches = [&](Value& v) {
    if (glob->match(v.name) || llvm::any_of(v.aliases, [&](const std::string& a) { return glob->match(a); }))
      return true;
    // An operator's name stands for the weights of all its nodes.
    return v.is_data() && v.ndim() >= 2 &&
           llvm::any_of(v.uses, [&](const Use& u) { return u.node->origin == c.pattern || u.node->name == c.pattern; });
  };
  auto apply = [&](Value& v) -> llvm::Error {
    llvm::Expected<Sharding> s = replicated(v.ndim());
    if (c.sharding == "replicate" || c.sharding == "replicated") {
      for (unsigned d = 0; d < v.ndim(); ++d)
        for (Dim e : factors.of(v, d).extents) s->dims[d].factors().push_back({e, {}});
    } else if (c.sharding == "colwise" || c.sharding == "colwise_rep" || c.sharding == "rowwise" ||
               c.sharding == "rowwise_rep") {
      if (!v.is_data()) return llvm::Error::success();
      s = sharding_of_layer(graph, factors, v, c, llvm::StringRef(c.sharding).starts_with("col"));
    } else if (c.sharding == "embedding_rowwise" || c.sharding == "embedding_colwise") {
      const MeshAxis* axis = strategy_axis(graph.mesh);
      if (v.ndim() != 2 || !axis)
        return error(Code::bad_value)
            .at(c.place)
            .what(quoted(v.name) + " is no embedding table")
            .about({.tensor = v.name});
      for (unsigned d = 0; d < 2; ++d)
        for (Dim e : factors.of(v, d).extents) s->dims[d].factors().push_back({e, {}});
      s->dims[c.sharding == "embedding_rowwise" ? 0 : 1].factors()[0].axes = {axis->name};
    } else {
      s = sharding_as_written(graph, factors, v, c);
    }
    if (!s) return s.takeError();
    out.emplace_back(&v, std::move(*s));
    return llvm::Error::success();
  };
  for (Value* v : graph.inputs)
    if (matches(*v))
      if (auto e = apply(*v)) return e;
  for (Value* v : graph.data())
    if (matches(*v))
      if (auto e = apply(*v)) return e;
  for (const auto& node : graph.nodes)
    for (const auto& r : node->results)
      if (matches(*r))
        if (auto e = apply(*r)) return e;
  if (out.empty())
    return error(Code::unmatched_pattern)
        .at(c.place)
        .what("pattern " + quoted(c.pattern) + " matches no tensor, node or operator");
  return out;
}
}  // namespace optp
