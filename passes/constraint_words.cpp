// The words of a constraint: a sharding in brackets, or one of the words of Hugging Face's tensor-parallel plans.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringSwitch.h"
#include "passes/constraints.h"
#include "passes/sharding_rules.h"
#include "passes/strategy.h"

namespace optp {
namespace {
using Word = ConstraintWord;
constexpr llvm::StringLiteral operator_prefix = "op:";
// How a framework calls its modules, which a graph has no more.
bool is_of_calls(llvm::StringRef word) {
  llvm::SmallVector<llvm::StringRef, 8> words;
  llvm::StringRef("moe_tp_experts ep_router ep_dispatch_experts grouped_gemm gather local mla_kv_a_proj")
      .split(words, ' ');
  return llvm::is_contained(words, word);
}
Word meaning(llvm::StringRef word) {
  return llvm::StringSwitch<Word>(word)
      .Cases("colwise", "colwise_rep", "colwise_gather_output", "packed_colwise", "local_colwise", Word::columns)
      .Cases("rowwise", "rowwise_rep", "rowwise_split_input", "packed_rowwise", "local_rowwise", Word::rows)
      .Case("embedding_rowwise", Word::table_rows)
      .Case("embedding_colwise", Word::table_columns)
      .Cases("replicate", "replicated", "sequence_parallel", "replicated_with_grad_allreduce", Word::whole)
      .Default(is_of_calls(word) ? Word::nothing : Word::unknown);
}
// Of a stack of weights, one for each expert, the slices that are chosen for a token.
bool chooses_of_stack(const Use& use) {
  return use.node->op->is(Trait::looks_up) && use.operand == 0 && use.node->operand(0).ndim() >= 3;
}
// The products that a weight goes into, itself or a view of it, or of a stack of weights a slice.
void visit_products(const Value& v, llvm::function_ref<void(const Use&)> visit) {
  for (const Use& use : v.uses)
    if (use.node->op->is(Trait::product))
      visit(use);
    else if (use.node->op->is(view_traits) || chooses_of_stack(use))
      visit_products(use.node->out(), visit);
}
bool is_added(const Value& v) {
  return llvm::any_of(v.uses, [](const Use& use) {
    return use.node->op->is(Trait::adds) || (use.node->op->is(Trait::converts) && is_added(use.node->out()));
  });
}
// Also where none is cut, so that each can be given axes.
DimSharding with_all_factors(const Factors::DimFactors& dim) {
  DimSharding out;
  for (const auto& part : dim.parts) {
    ProductSharding& to = out.parts.emplace_back();
    for (Dim extent : part.extents) to.factors.push_back({extent, {}});
  }
  return out;
}
}  // namespace

ConstraintLine read_line(const Constraint& line) {
  llvm::StringRef text = line.sharding;
  const bool held = text.consume_front("held ");
  text = text.trim();
  return {line, held, meaning(text), written_dims(text)};
}
bool consume_operator_prefix(llvm::StringRef& pattern) { return pattern.consume_front(operator_prefix); }
std::string pattern_text(const Constraint& c) { return (c.of_operators ? operator_prefix.str() : "") + c.pattern; }
std::string text_of(const Constraint& c) { return c.place.text() + ": " + pattern_text(c) + " = " + c.sharding; }

Diagnostic ConstraintWords::wrong() const {
  return error(Code::bad_value).at(line.place).what(quoted(line.pattern) + " = " + quoted(line.sharding));
}
bool ConstraintWords::asks_nothing() const { return line.word == Word::nothing; }
bool ConstraintWords::is_of_weights() const { return line.word != Word::unknown && line.word != Word::whole; }

Sharding ConstraintWords::whole(const Value& v) const {
  Sharding s;
  for (unsigned d = 0; d < v.ndim(); ++d) s.dims.push_back(with_all_factors(factors.of(v, d)));
  return s;
}
// Of a dim that is 3 · 12 heads · 64 the heads: what the strategies could cut, else what no op needs whole. Of a dim of
// several parts those that have such a factor; null: none has.
DimSharding ConstraintWords::cut_where_free(const Value& v, unsigned dim, const AxisUses& axes) const {
  const auto& own = factors.of(v, dim);
  DimSharding out = with_all_factors(own);
  bool any = false;
  for (size_t p = 0; p < own.parts.size(); ++p) {
    const auto& classes = own.parts[p].classes;
    const auto* at = llvm::find_if(classes, [&](Factors::Class c) { return recogniser[c].role != Role::none; });
    if (at == classes.end()) at = llvm::find_if(classes, [&](Factors::Class c) { return repeated(c).has_value(); });
    if (at == classes.end()) at = llvm::find_if(classes, [&](Factors::Class c) { return recogniser.is_free(c); });
    if (at == classes.end()) continue;
    out.parts[p].factors[size_t(at - classes.begin())].axes = axes;
    any = true;
  }
  return any ? out : cut_at_majors(own, axes);
}
llvm::Expected<std::optional<Sharding>> ConstraintWords::cut(const Value& v, unsigned dim) const {
  const MeshAxis* axis = strategy_axis(graph.mesh);
  if (!axis) return wrong().what("mesh " + to_string(graph.mesh) + " has no axis 'tensor'").about({.tensor = v.name});
  Sharding s = whole(v);
  s.dims[dim] = cut_where_free(v, dim, {axis->name});
  // Heads that several devices share are held where what is made of them is.
  const auto& own = factors.of(v, dim);
  for (size_t p = 0; p < own.parts.size(); ++p)
    for (size_t k = 0; k < own.parts[p].classes.size(); ++k)
      if (FactorSharding& f = s.dims[dim].parts[p].factors[k]; !f.axes.empty())
        if (const auto times = repeated(own.parts[p].classes[k])) f.axes = covering(f.axes, *times);
  return s;
}
// How often what a class is for is repeated.
std::optional<int64_t> ConstraintWords::repeated(Factors::Class c) const {
  for (const auto& node : graph.nodes)
    for (const LoopCover& cover : factors.rule(*node).covers)
      if (const auto coarse = factors.of_loop(*node, cover.coarse).classes(); coarse.size() == 1 && coarse[0] == c)
        return cover.times;
  return std::nullopt;
}

llvm::Expected<std::optional<Sharding>> ConstraintWords::sharding_of(const Value& v) const {
  switch (line.word) {
    case Word::columns:
    case Word::rows:
      if (!v.is_data()) return std::nullopt;
      return of_layer(v, line.word == Word::columns);
    case Word::table_rows:
    case Word::table_columns:
      if (!v.is_data() || v.ndim() != 2) return std::nullopt;
      return cut(v, line.word == Word::table_rows ? 0 : 1);
    case Word::whole:
      return whole(v);
    case Word::nothing:
      return std::nullopt;
    case Word::unknown:
      break;
  }
  return as_written(v);
}

llvm::Error ConstraintWords::check_axes(const AxisUses& axes, AxisUses& used, const Value& v) const {
  auto fail = [&](const llvm::Twine& what) { return wrong().what(what).about({.tensor = v.name}); };
  for (const AxisUse& use : axes) {
    const std::string name = to_string(use);  // what covers is no axis: annotate finds what does
    if (!graph.mesh.find(name)) return fail("mesh " + to_string(graph.mesh) + " has no axis " + quoted(name));
    if (llvm::is_contained(used, use)) return fail("axis " + quoted(name) + " is used twice");
    used.push_back(use);
  }
  return llvm::Error::success();
}
// A word a dim, or in parentheses the words of its factors, of each part in turn.
llvm::Expected<std::optional<Sharding>> ConstraintWords::as_written(const Value& v) const {
  const auto& written = line.written;
  if (!written)
    return wrong().expected("colwise, rowwise, embedding_rowwise, replicate or a sharding such as [_, tensor]");
  if (written->size() != v.ndim())
    return wrong()
        .expected(llvm::Twine(v.ndim()) + " dims for " + called(v) + " " + to_string(v.type.dims))
        .found(written->size())
        .about({.tensor = v.name});
  Sharding s = whole(v);
  AxisUses used;
  for (unsigned d = 0; d < v.ndim(); ++d)
    if (auto e = fit((*written)[d], v, d, s.dims[d], used)) return e;
  return s;
}
llvm::Error ConstraintWords::fit(const WrittenDim& written, const Value& v, unsigned d, DimSharding& out,
                                 AxisUses& used) const {
  if (!written.by_factors) {
    const AxisUses& axes = written.parts[0][0];
    if (auto e = check_axes(axes, used, v)) return e;
    if (!axes.empty()) out = cut_where_free(v, d, axes);
    return llvm::Error::success();
  }
  auto fail = [&](const llvm::Twine& what) {
    return wrong().what("dim " + llvm::Twine(d) + " of " + called(v) + " has " + what).about({.tensor = v.name});
  };
  const auto& parts = written.parts;
  if (parts.size() > 1 && parts.size() != out.parts.size()) return fail(llvm::Twine(out.parts.size()) + " parts");
  AxisUses taken;  // one axis may cut several parts
  for (size_t p = 0; p < out.parts.size(); ++p) {
    // One product in parentheses is meant for each part.
    const auto& factors = parts[parts.size() == 1 ? 0 : p];
    AxisUses within = used;
    for (size_t k = 0; k < factors.size(); ++k) {
      if (factors[k].empty()) continue;
      if (k >= out.parts[p].factors.size()) return fail(llvm::Twine(out.parts[p].factors.size()) + " factors");
      if (auto e = check_axes(factors[k], within, v)) return e;
      taken.append(factors[k].begin(), factors[k].end());
      out.parts[p].factors[k].axes = factors[k];
    }
  }
  used.append(taken.begin(), taken.end());
  return llvm::Error::success();
}

// The dim of the weight `v` that a loop of a product runs over, of which `v` or a view of it is an operand.
std::optional<unsigned> ConstraintWords::dim_of_loop(const Value& v, const Use& use, int loop) const {
  const auto classes = factors.of_loop(*use.node, loop).classes();
  for (unsigned d = 0; d < v.ndim(); ++d) {
    if (&use.node->operand(use.operand) == &v) {
      if (factors.rule(*use.node).operands[use.operand][d] == loop) return d;
    } else if (llvm::any_of(factors.of(v, d).classes(), [&](auto c) { return llvm::is_contained(classes, c); })) {
      return d;
    }
  }
  return std::nullopt;
}
// Columns and rows as PyTorch and Hugging Face mean them: of the layer's outputs and of its inputs, whatever the
// layout.
llvm::Expected<std::optional<Sharding>> ConstraintWords::of_layer(const Value& v, bool by_column) const {
  std::optional<unsigned> dim;
  visit_products(v, [&](const Use& use) {
    const Rule& rule = factors.rule(*use.node);
    for (const int loop : rule.operands[use.operand]) {
      if (loop == no_loop || llvm::is_contained(rule.operands[1 - use.operand], loop) == by_column) continue;
      if (!dim && (by_column || rule.loops[size_t(loop)].reduce != Reduce::none)) dim = dim_of_loop(v, use, loop);
    }
  });
  // A column-parallel layer's bias is cut with it, a row-parallel one's is whole.
  if (!dim && v.ndim() == 1 && is_added(v)) {
    if (!by_column) return whole(v);
    dim = 0;
  }
  if (!dim) return std::nullopt;
  return cut(v, *dim);
}
}  // namespace optp
