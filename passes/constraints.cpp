#include "passes/constraints.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/GlobPattern.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"

namespace optp {
namespace {
Diagnostic wrong(const Constraint& c) {
  return error(Code::bad_value).at(c.place).what(quoted(c.pattern) + " = " + quoted(c.sharding));
}
// "[_, tensor]", "[_, (tensor _)]", "[_, (tensor _) + (tensor _) + (_)]": one word a dim, or in parentheses the words
// of its factors, part by part.
class WrittenSharding {
 public:
  WrittenSharding(const Graph& graph, const Factors& factors, const Value& v, const Constraint& c)
      : graph_(graph), factors_(factors), v_(v), c_(c) {}

  llvm::Expected<Sharding> read() {
    llvm::StringRef text = llvm::StringRef(c_.sharding).trim();
    if (!text.consume_front("[") || !text.consume_back("]"))
      return wrong(c_).expected("colwise, rowwise, embedding_rowwise, replicate or a sharding such as [_, tensor]");
    llvm::SmallVector<llvm::StringRef, 4> words;
    if (!text.trim().empty()) text.split(words, ',');
    if (words.size() != v_.ndim())
      return wrong(c_)
          .expected(llvm::Twine(v_.ndim()) + " dims for " + quoted(v_.name) + " " + to_string(v_.type.dims))
          .found(words.size())
          .about({.tensor = v_.name});
    Sharding s;
    for (unsigned d = 0; d < words.size(); ++d) {
      auto dim = read_dim(d, words[d].trim());
      if (!dim) return dim.takeError();
      s.dims.push_back(std::move(*dim));
    }
    return s;
  }

 private:
  Diagnostic fail(const llvm::Twine& what) const { return wrong(c_).what(what).about({.tensor = v_.name}); }

  llvm::Expected<DimSharding> read_dim(unsigned d, llvm::StringRef word) {
    const auto& own = factors_.of(v_, d);
    if (!word.starts_with("(")) {
      auto axes = read_axes(word);
      if (!axes) return axes.takeError();
      used_.append(axes->begin(), axes->end());
      return axes->empty() ? unsplit(own) : cut_at_majors(own, *axes);
    }
    llvm::SmallVector<llvm::StringRef, 1> parts;
    word.split(parts, '+');
    if (parts.size() != own.parts.size() && parts.size() > 1)
      return fail("dim " + llvm::Twine(d) + " of " + quoted(v_.name) + " has " + llvm::Twine(own.parts.size()) +
                  " parts");
    DimSharding out;
    Axes taken;  // one axis may cut several parts
    for (size_t p = 0; p < own.parts.size(); ++p) {
      const auto& extents = own.parts[p].extents;
      // One product in parentheses is meant for each part.
      auto axes = read_product(d, parts.size() == 1 ? parts[0] : parts[p], extents.size());
      if (!axes) return axes.takeError();
      FactorShardings factors;
      for (size_t k = 0; k < extents.size(); ++k) {
        factors.push_back({extents[k], (*axes)[k]});
        taken.append((*axes)[k].begin(), (*axes)[k].end());
      }
      out.parts.push_back({std::move(factors)});
    }
    used_.append(taken.begin(), taken.end());
    return out;
  }
  llvm::Expected<llvm::SmallVector<Axes, 2>> read_product(unsigned d, llvm::StringRef text, size_t factors) {
    text = text.trim();
    text.consume_front("(");
    text.consume_back(")");
    llvm::SmallVector<llvm::StringRef, 4> words;
    text.split(words, ' ', -1, false);
    llvm::SmallVector<Axes, 2> out(factors);
    Axes within;
    for (size_t k = 0; k < words.size(); ++k) {
      auto axes = read_axes(words[k]);
      if (!axes) return axes.takeError();
      if (axes->empty()) continue;
      if (k >= factors)
        return fail("dim " + llvm::Twine(d) + " of " + quoted(v_.name) + " has " + llvm::Twine(factors) + " factors");
      for (const std::string& axis : *axes)
        if (llvm::is_contained(within, axis)) return fail("axis " + quoted(axis) + " is used twice");
      within.append(axes->begin(), axes->end());
      out[k] = std::move(*axes);
    }
    return out;
  }
  // "_", "tensor", "data*tensor"
  llvm::Expected<Axes> read_axes(llvm::StringRef word) {
    Axes out;
    if (word == "_") return out;
    llvm::SmallVector<llvm::StringRef, 2> names;
    word.split(names, '*');
    for (llvm::StringRef name : names) {
      if (!graph_.mesh.find(name)) return fail("mesh " + to_string(graph_.mesh) + " has no axis " + quoted(name));
      if (llvm::is_contained(used_, name.str()) || llvm::is_contained(out, name.str()))
        return fail("axis " + quoted(name) + " is used twice");
      out.push_back(name.str());
    }
    return out;
  }

  const Graph& graph_;
  const Factors& factors_;
  const Value& v_;
  const Constraint& c_;
  Axes used_;  // by the dims before
};

// Columns and rows as PyTorch and Hugging Face mean them: of the layer's outputs and of its inputs, whatever the
// layout.
llvm::Expected<Sharding> sharding_of_layer(const Graph& graph, const Factors& factors, const Value& v,
                                           const Constraint& c, bool by_column) {
  auto fail = [&](const llvm::Twine& what) { return wrong(c).what(what).about({.tensor = v.name}); };
  const MeshAxis* axis = strategy_axis(graph.mesh);
  if (!axis) return fail("mesh " + to_string(graph.mesh) + " has no axis 'tensor'");
  Sharding s = replicated(v.ndim());
  for (unsigned d = 0; d < v.ndim(); ++d) s.dims[d] = unsplit(factors.of(v, d));
  for (const Use& use : v.uses) {
    const Rule& rule = factors.rule(*use.node);
    if (!use.node->op->is(Trait::product)) {
      if (by_column && v.ndim() == 1) {  // a column-parallel layer's bias
        s.dims[0] = cut_at_majors(factors.of(v, 0), {axis->name});
        return s;
      }
      continue;
    }
    for (unsigned d = 0; d < v.ndim(); ++d) {
      const int loop = rule.operands[use.operand][d];
      if (loop == no_loop || llvm::is_contained(rule.operands[1 - use.operand], loop) == by_column) continue;
      if (!by_column && rule.loops[size_t(loop)].reduce == Reduce::none) continue;
      s.dims[d] = cut_at_majors(factors.of(v, d), {axis->name});
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
      for (unsigned d = 0; d < v.ndim(); ++d) s->dims[d] = unsplit(factors.of(v, d));
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
      const unsigned cut = c.sharding == "embedding_rowwise" ? 0 : 1;
      for (unsigned d = 0; d < 2; ++d)
        s->dims[d] = d == cut ? cut_at_majors(factors.of(v, d), {axis->name}) : unsplit(factors.of(v, d));
    } else {
      s = WrittenSharding(graph, factors, v, c).read();
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
