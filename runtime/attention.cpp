// What exporters and passes leave of attention, from the scores of queries and keys to the sum of values:
//   %s = contract(%q, %k) {loops = "b s h d, b t h d -> b h s t"}
//   … elementwise: a scale, a soft cap, a mask that is added or chosen; reshapes that join or part batches and heads
//   %p = softmax(%m) {axis = 3}
//   … elementwise: NaN to 0, roundings
//   %y = contract(%p, %v) {loops = "b h s t, b t h d -> b s h d"}
// A mask is elementwise too: as far as it has a value for each query and key, it is computed by blocks with the scores.
#include "runtime/attention.h"

#include "frontend/ir/op.h"
#include "runtime/row_programs.h"

namespace optp {
namespace {
using Factors = llvm::SmallVector<Factor, 8>;
using Names = std::vector<std::string>;
constexpr const char* no_name = "1";

// The scores' and values' products beside an attention's softmax, and what is between.
struct Parts {
  const Node& softmax;
  const Node *scores = nullptr, *values = nullptr;
  ProgramBuilder before, after;
};

// An operand by the loops of its product: the factors of each loop that it has.
struct Loops {
  const StridedSource& source;
  const Names& names;
  llvm::ArrayRef<Factor> of(llvm::StringRef name) const {
    for (size_t d = 0; d < names.size(); ++d)
      if (names[d] == name && name != no_name) return source.layout.dims[d];
    return {};
  }
};

class Recogniser {
 public:
  Recogniser(const Graph& graph, RowsOfNodes& rows, int64_t whole_bytes, const llvm::DenseSet<const Value*>& standing)
      : graph_(graph), rows_(rows), whole_bytes_(whole_bytes), standing_(standing) {}
  std::optional<FusedStep> recognise(const Node& softmax);

 private:
  const Graph& graph_;
  RowsOfNodes& rows_;
  int64_t whole_bytes_;
  const llvm::DenseSet<const Value*>& standing_;

  ProgramBuilder builder(const Value& start, const Node& softmax) const;
  void find_scores(const Value& v, const Node& softmax, llvm::SmallVectorImpl<const Node*>& out,
                   llvm::DenseSet<const Value*>& seen);
  bool find_values(Parts& parts);
  bool is_inside(const Parts& parts) const;
  std::optional<FusedStep> step_of(Parts& parts);
};

ProgramBuilder Recogniser::builder(const Value& start, const Node& softmax) const {
  return ProgramBuilder({.rows = &rows_,
                         .start = &start,
                         .queries = extent_from_last(softmax.out(), 1),
                         .keys = extent_from_last(softmax.out(), 0),
                         .whole_bytes = whole_bytes_,
                         .standing = &standing_});
}

// Products of queries and keys that the value is made of elementwise, the first operands' first.
void Recogniser::find_scores(const Value& v, const Node& softmax, llvm::SmallVectorImpl<const Node*>& out,
                             llvm::DenseSet<const Value*>& seen) {
  if (!v.producer || !seen.insert(&v).second) return;
  const Node& node = *v.producer;
  for (size_t back : {0, 1})
    if (extent_from_last(v, back) != extent_from_last(softmax.out(), back)) return;
  if (node.op->is(Trait::product)) return out.push_back(&node);
  if (!passes_rows(node) && !rows_.of(node)) return;
  for (const Value* o : node.operands) find_scores(*o, softmax, out, seen);
}

// The one product that the softmax's result ends in.
bool Recogniser::find_values(Parts& parts) {
  llvm::SmallVector<const Value*, 4> open{&parts.softmax.out()};
  const Value* end = nullptr;
  for (size_t k = 0; k < open.size(); ++k)
    for (const Use& use : open[k]->uses) {
      if (use.node->op->is(Trait::product)) {
        if (end) return false;
        end = open[k], parts.values = use.node;
      } else if (passes_rows(*use.node) || rows_.of(*use.node)) {
        if (!llvm::is_contained(open, &use.node->out())) open.push_back(&use.node->out());
      } else {
        return false;
      }
    }
  return end && parts.values->operands[0] != parts.values->operands[1] && parts.after.build(*end);
}

// Whether nothing but the step needs what is made on the way.
bool Recogniser::is_inside(const Parts& parts) const {
  llvm::DenseSet<const Node*> nodes{parts.scores, &parts.softmax};
  nodes.insert(parts.before.nodes.begin(), parts.before.nodes.end());
  nodes.insert(parts.after.nodes.begin(), parts.after.nodes.end());
  for (const Node* n : nodes) {
    if (graph_.is_output(n->out())) return false;
    for (const Use& use : n->out().uses)
      if (use.node != parts.values && !nodes.contains(use.node)) return false;
  }
  return true;
}

std::optional<FusedStep> Recogniser::recognise(const Node& softmax) {
  const Value& p = softmax.out();
  if (p.type.dtype != DType::f32 || p.ndim() < 2 || spec_of(p).elements() == 0 ||
      softmax.integer("axis") != int64_t(p.ndim()) - 1)
    return std::nullopt;
  llvm::SmallVector<const Node*, 2> products;
  llvm::DenseSet<const Value*> seen;
  find_scores(softmax.operand(0), softmax, products, seen);
  for (const Node* scores : products) {
    Parts parts{
        .softmax = softmax, .scores = scores, .before = builder(scores->out(), softmax), .after = builder(p, softmax)};
    if (scores->out().type.dtype != DType::f32 || !parts.before.build(softmax.operand(0)) || !find_values(parts) ||
        !is_inside(parts))
      continue;
    if (auto step = step_of(parts)) return step;
  }
  return std::nullopt;
}

// What a product has of the loops: which operand is the rows' (queries; probabilities) and which the other, what they
// are called.
struct ProductLoops {
  size_t rows_operand = 0;
  std::string row, column, summed;  // of [row, summed] · [summed, column]; `summed` may have extent 1 and no name
  Names batch;
};
int64_t extent_of(const Node& product, llvm::StringRef name) {
  for (size_t o : {0, 1})
    for (size_t d = 0; d < product.loops().operands[o].size(); ++d)
      if (product.loops().operands[o][d] == name) return product.operand(o).type.dims[d].constant().value_or(-1);
  return 1;
}
bool has(const Names& names, llvm::StringRef name) { return name != no_name && llvm::is_contained(names, name); }
bool repeats_names(const Names& names) {
  for (size_t k = 0; k < names.size(); ++k)
    if (names[k] != no_name && llvm::count(names, names[k]) > 1) return true;
  return false;
}
// The one of `names` that is in neither list and has more than one index; empty: there is none. None: several.
std::optional<std::string> one_beside(const Node& product, const Names& names, const Names& other) {
  std::string out;
  for (const std::string& n : names) {
    if (n == no_name || has(other, n) || extent_of(product, n) == 1) continue;
    if (!out.empty()) return std::nullopt;
    out = n;
  }
  return out;
}

// scores: the result's last two loops are rows and columns.
std::optional<ProductLoops> loops_of_scores(const Node& scores) {
  const auto& loops = scores.loops();
  const Names &result = loops.result, &a = loops.operands[0], &b = loops.operands[1];
  if (result.size() < 2 || repeats_names(a) || repeats_names(b) || repeats_names(result)) return std::nullopt;
  ProductLoops out;
  out.column = result.back(), out.row = result[result.size() - 2];
  out.rows_operand = has(a, out.column) || (has(b, out.row) && !has(a, out.row)) ? 1 : 0;
  const Names &q = loops.operands[out.rows_operand], &k = loops.operands[1 - out.rows_operand];
  if (has(q, out.column) || has(k, out.row)) return std::nullopt;
  const auto of_q = one_beside(scores, q, result), of_k = one_beside(scores, k, result);
  if (!of_q || !of_k || *of_q != *of_k) return std::nullopt;
  out.summed = *of_q;
  out.batch.assign(result.begin(), result.end() - 2);
  return out;
}
// values: the last two loops of the probabilities are rows and the sum.
std::optional<ProductLoops> loops_of_values(const Node& values, size_t probabilities) {
  const auto& loops = values.loops();
  const Names &p = loops.operands[probabilities], &v = loops.operands[1 - probabilities], &result = loops.result;
  if (p.size() < 2 || repeats_names(p) || repeats_names(v) || repeats_names(result)) return std::nullopt;
  ProductLoops out;
  out.rows_operand = probabilities;
  out.row = p[p.size() - 2], out.summed = p.back();
  if (has(result, out.summed) || has(v, out.row) || (out.summed != no_name && !has(v, out.summed))) return std::nullopt;
  for (size_t d = 0; d + 1 < p.size(); ++d)
    if (p[d] != no_name && !has(result, p[d])) return std::nullopt;
  const auto column = one_beside(values, v, p);
  if (!column || (!column->empty() && !has(result, *column))) return std::nullopt;
  out.column = *column;
  out.batch.assign(p.begin(), p.end() - 2);
  return out;
}

Factors batch_factors(const Loops& operand, const Node& product, const Names& batch) {
  Factors out;
  for (const std::string& name : batch) {
    const auto own = operand.of(name);
    if (own.empty())
      out.push_back({extent_of(product, name), 0});
    else
      out.append(own.begin(), own.end());
  }
  return out;
}

// Operands and result, put together while the forms of the batch are joined into one.
class Assembly {
 public:
  explicit Assembly(int64_t batch) {
    if (batch != 1) extents.push_back(batch);
  }
  bool join(llvm::ArrayRef<int64_t> batch) {
    auto both = refined(extents, batch);
    if (both) extents = std::move(*both);
    return both.has_value();
  }
  bool join(llvm::ArrayRef<Factor> factors) {
    Extents own;
    for (const Factor& f : factors) own.push_back(f.extent);
    return join(own);
  }
  unsigned operand(const Value& v) {
    const auto at = llvm::find(step.operands, &v);
    if (at == step.operands.end()) return step.operands.push_back(&v), unsigned(step.operands.size()) - 1;
    return unsigned(at - step.operands.begin());
  }
  // The source furthest back whose rows and columns have a stride each.
  bool add(const Value& v, const Node& product, const Names& names, const ProductLoops& loops, llvm::StringRef row,
           llvm::StringRef column, StridedOperand& out, Factors& batch) {
    auto sources = strided_sources(v, true);
    for (const StridedSource& s : llvm::reverse(sources)) {
      const Loops own{s, names};
      const auto r = one_stride(own.of(row)), c = one_stride(own.of(column));
      const Extents before = extents;
      batch = batch_factors(own, product, loops.batch);
      if (!r || !c || !join(llvm::ArrayRef<Factor>(batch))) {
        extents = before;
        continue;
      }
      out.operand = operand(*s.value), out.dtype = s.value->type.dtype, out.offset = s.layout.offset;
      out.row = *r, out.column = *c;
      step.absorbed.insert(step.absorbed.end(), s.passed.begin(), s.passed.end());
      return true;
    }
    return false;
  }

  Extents extents;
  FusedStep step;
};

std::optional<FusedStep> Recogniser::step_of(Parts& parts) {
  const auto s = loops_of_scores(*parts.scores);
  if (!s) return std::nullopt;
  const size_t probabilities = parts.after.reaches(parts.values->operand(0)) ? 0 : 1;
  const auto w = loops_of_values(*parts.values, probabilities);
  if (!w || parts.values->out().type.dtype != DType::f32) return std::nullopt;
  auto a = std::make_shared<Attention>();
  a->queries = extent_from_last(parts.softmax.out(), 1), a->keys = extent_from_last(parts.softmax.out(), 0);
  a->depth = extent_of(*parts.scores, s->summed), a->width = extent_of(*parts.values, w->column);
  Assembly all(spec_of(parts.softmax.out()).elements() / (a->queries * a->keys));
  for (const ProgramBuilder* b : {&parts.before, &parts.after})
    for (const Extents& batch : b->batches)
      if (!all.join(batch)) return std::nullopt;
  const auto& sl = parts.scores->loops();
  const auto& wl = parts.values->loops();
  const size_t q = s->rows_operand, k = 1 - q, v = 1 - probabilities;
  Factors bq, bk, bv;
  if (!all.add(parts.scores->operand(q), *parts.scores, sl.operands[q], *s, s->row, s->summed, a->q, bq) ||
      !all.add(parts.scores->operand(k), *parts.scores, sl.operands[k], *s, s->column, s->summed, a->k, bk) ||
      !all.add(parts.values->operand(v), *parts.values, wl.operands[v], *w, w->summed, w->column, a->v, bv))
    return std::nullopt;
  const auto dense = strided_sources(parts.values->out(), false).front();
  const Loops result{dense, wl.result};
  a->y.row = one_stride(result.of(w->row)).value_or(0), a->y.column = one_stride(result.of(w->column)).value_or(0);
  const Factors by = batch_factors(result, *parts.values, w->batch);
  if (!all.join(llvm::ArrayRef<Factor>(by))) return std::nullopt;
  for (const ProgramBuilder* b : {&parts.before, &parts.after})
    for (const Leaf& leaf : b->leaves)
      if (!all.join(llvm::ArrayRef<Factor>(leaf.batch))) return std::nullopt;

  a->batch = all.extents;
  a->q.batch = strides_along(bq, a->batch), a->k.batch = strides_along(bk, a->batch);
  a->v.batch = strides_along(bv, a->batch), a->y.batch = strides_along(by, a->batch);
  for (auto [builder, program] : {std::pair(&parts.before, &a->before), std::pair(&parts.after, &a->after)}) {
    *program = builder->program;
    for (const Leaf& leaf : builder->leaves) {
      program->leaves.push_back(leaf.place);
      program->leaves.back().operand = all.operand(*leaf.value);
      program->leaves.back().batch = strides_along(leaf.batch, a->batch);
    }
    all.step.nodes.insert(all.step.nodes.end(), builder->nodes.begin(), builder->nodes.end());
    all.step.absorbed.insert(all.step.absorbed.end(), builder->absorbed.begin(), builder->absorbed.end());
  }
  all.step.anchor = &parts.softmax, all.step.last = parts.values;
  for (const Node* n : {parts.scores, &parts.softmax, parts.values}) all.step.nodes.push_back(n);
  all.step.attention = std::move(a);
  return std::move(all.step);
}

// A sum or a softmax of nothing is left to kernels that know what it is.
bool has_elements(const FusedStep& step) {
  return spec_of(step.anchor->out()).elements() > 0 && spec_of(step.last->out()).elements() > 0 &&
         llvm::all_of(step.operands, [](const Value* v) { return spec_of(*v).elements() > 0; });
}

// What only attentions use, and they don't: from the last node to the first, so that users are known.
llvm::DenseSet<const Node*> unneeded(const Graph& graph, llvm::ArrayRef<FusedStep> steps) {
  llvm::DenseSet<const Node*> gone, absorbed;
  llvm::DenseSet<const Value*> read;
  for (const FusedStep& s : steps) {
    gone.insert(s.nodes.begin(), s.nodes.end());
    absorbed.insert(s.absorbed.begin(), s.absorbed.end());
    read.insert(s.operands.begin(), s.operands.end());
  }
  for (const auto& node : llvm::reverse(graph.nodes)) {
    if (!absorbed.contains(node.get()) || read.contains(&node->out()) || graph.is_output(node->out())) continue;
    if (llvm::all_of(node->out().uses, [&](const Use& use) { return gone.contains(use.node); }))
      gone.insert(node.get());
  }
  return gone;
}
// Nodes of masks that a step computes though they are computed for others, too.
bool add_standing(llvm::ArrayRef<FusedStep> steps, const llvm::DenseSet<const Node*>& gone,
                  llvm::DenseSet<const Value*>& standing) {
  bool any = false;
  for (const FusedStep& s : steps)
    for (const RowProgram* p : {&s.attention->before, &s.attention->after})
      for (const RowProgram::Step& row : p->steps)
        if (!gone.contains(row.node)) any |= standing.insert(&row.node->out()).second;
  return any;
}
}  // namespace

FoundAttentions find_attentions(const Graph& graph, const KernelContext& context, int64_t whole_bytes) {
  RowsOfNodes rows(context);
  llvm::DenseMap<const Node*, size_t> order;
  for (const auto& node : graph.nodes) order.try_emplace(node.get(), order.size());
  llvm::DenseSet<const Value*> standing;
  FoundAttentions found;
  do {
    found.steps.clear();
    Recogniser recogniser(graph, rows, whole_bytes, standing);
    for (const auto& node : graph.nodes)
      if (node->op->is(Trait::shares_out))
        if (auto step = recogniser.recognise(*node); step && has_elements(*step))
          found.steps.push_back(std::move(*step));
    found.taken = unneeded(graph, found.steps);
  } while (add_standing(found.steps, found.taken, standing));
  for (FusedStep& s : found.steps)
    for (auto* nodes : {&s.nodes, &s.absorbed})
      llvm::sort(*nodes, [&](const Node* a, const Node* b) { return order.lookup(a) < order.lookup(b); });
  return found;
}
}  // namespace optp
