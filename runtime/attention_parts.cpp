#include "runtime/attention_parts.h"

namespace optp {
namespace {
constexpr const char* no_name = "1";

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
}  // namespace

llvm::DenseSet<const Node*> AttentionParts::nodes() const {
  llvm::DenseSet<const Node*> out{scores, &softmax};
  out.insert(before.nodes.begin(), before.nodes.end());
  out.insert(after.nodes.begin(), after.nodes.end());
  return out;
}
bool is_inside(const Graph& graph, const llvm::DenseSet<const Node*>& nodes, const llvm::DenseSet<const Node*>& users) {
  return llvm::all_of(nodes, [&](const Node* n) {
    return !graph.is_output(n->out()) && llvm::all_of(n->out().uses, [&](const Use& use) {
      return nodes.contains(use.node) || users.contains(use.node);
    });
  });
}

int64_t extent_of(const Node& product, llvm::StringRef name) {
  for (size_t o : {0, 1})
    for (size_t d = 0; d < product.loops().operands[o].size(); ++d)
      if (product.loops().operands[o][d] == name) return product.operand(o).type.dims[d].constant().value_or(-1);
  return 1;
}

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
std::optional<ProductLoops> loops_of_query_sum(const Node& product, size_t probabilities) {
  const auto& loops = product.loops();
  const Names &p = loops.operands[probabilities], &x = loops.operands[1 - probabilities], &result = loops.result;
  if (p.size() < 2 || repeats_names(p) || repeats_names(x) || repeats_names(result)) return std::nullopt;
  ProductLoops out;
  out.rows_operand = probabilities;
  out.row = p.back(), out.summed = p[p.size() - 2];
  if (!has(result, out.row) || has(result, out.summed) || has(x, out.row) || !has(x, out.summed)) return std::nullopt;
  const auto column = one_beside(product, x, p);
  if (!column || (!column->empty() && !has(result, *column))) return std::nullopt;
  out.column = *column;
  out.batch.assign(p.begin(), p.end() - 2);
  return out;
}

bool Assembly::join(llvm::ArrayRef<Factor> factors) {
  Extents own;
  for (const Factor& f : factors) own.push_back(f.extent);
  auto both = refined(extents_, own);
  if (both) extents_ = std::move(*both);
  return both.has_value();
}
bool Assembly::join(const ProgramBuilder& program) {
  for (const Extents& batch : program.batches) {
    auto both = refined(extents_, batch);
    if (!both) return false;
    extents_ = std::move(*both);
  }
  return llvm::all_of(program.leaves, [&](const Leaf& leaf) { return join(llvm::ArrayRef<Factor>(leaf.batch)); });
}
unsigned Assembly::operand(const Value& v) {
  const auto at = llvm::find(step.operands, &v);
  if (at == step.operands.end()) return step.operands.push_back(&v), unsigned(step.operands.size()) - 1;
  return unsigned(at - step.operands.begin());
}
bool Assembly::add(const Node& product, size_t operand_index, const ProductLoops& loops, llvm::StringRef row,
                   llvm::StringRef column, StridedOperand& out) {
  auto sources = strided_sources(product.operand(operand_index), /*widened=*/true);
  for (const StridedSource& s : llvm::reverse(sources)) {
    const Loops own{s, product.loops().operands[operand_index]};
    const auto r = one_stride(own.of(row)), c = one_stride(own.of(column));
    const Extents before = extents_;
    Factors batch = batch_factors(own, product, loops.batch);
    if (!r || !c || !join(llvm::ArrayRef<Factor>(batch))) {
      extents_ = before;
      continue;
    }
    out.operand = operand(*s.value), out.dtype = s.value->type.dtype, out.offset = s.layout.offset;
    out.row = *r, out.column = *c;
    placed_.push_back({&out, std::move(batch)});
    step.absorbed.insert(step.absorbed.end(), s.passed.begin(), s.passed.end());
    return true;
  }
  return false;
}
bool Assembly::add_result(const Node& product, const ProductLoops& loops, llvm::StringRef row, llvm::StringRef column,
                          StridedOperand& out) {
  const auto dense = strided_sources(product.out(), /*widened=*/false).front();
  const Loops own{dense, product.loops().result};
  out.row = one_stride(own.of(row)).value_or(0), out.column = one_stride(own.of(column)).value_or(0);
  Factors batch = batch_factors(own, product, loops.batch);
  if (!join(llvm::ArrayRef<Factor>(batch))) return false;
  placed_.push_back({&out, std::move(batch)});
  return true;
}
void Assembly::place() {
  for (const PlacedOperand& p : placed_) p.place->batch = strides_along(p.batch, extents_);
}
void Assembly::add_program(const ProgramBuilder& from, RowProgram& to) {
  to = from.program;
  for (const Leaf& leaf : from.leaves) {
    to.leaves.push_back(leaf.place);
    to.leaves.back().operand = operand(*leaf.value);
    to.leaves.back().batch = strides_along(leaf.batch, extents_);
  }
  step.nodes.insert(step.nodes.end(), from.nodes.begin(), from.nodes.end());
  step.absorbed.insert(step.absorbed.end(), from.absorbed.begin(), from.absorbed.end());
}
}  // namespace optp
