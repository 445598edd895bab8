#include "runtime/row_programs.h"

#include <cmath>

#include "frontend/ir/op.h"

namespace optp {
namespace {
using In = RowProgram::In;

// A number that stands in the model, perhaps in half precision.
std::optional<double> number_of(const Value& v) {
  if (v.producer && v.producer->op->is(Trait::converts)) return number_of(v.producer->operand(0));
  return scalar_constant(v);
}
int64_t bytes_of(const Value& v) { return spec_of(v).bytes(); }

// A view that repeats its operand along batch dims, or says more or fewer of them of extent 1.
bool only_broadcasts(const Node& node) {
  if (node.operands.size() != 1 || node.results.size() != 1) return false;
  const Value &x = node.operand(0), &y = node.out();
  if (x.ndim() < 2 || y.ndim() < 2 || x.type.dtype != y.type.dtype) return false;
  const auto from = spec_of(x).dims, to = spec_of(y).dims;
  const auto whole = strided_sources(x, /*widened=*/false).front().layout;
  const auto layout = layout_through(node, whole);
  if (!layout || layout->offset != 0) return false;
  for (size_t back = 0; back < std::max(from.size(), to.size()); ++back) {
    const int64_t a = back < from.size() ? from[from.size() - 1 - back] : 1;
    const int64_t b = back < to.size() ? to[to.size() - 1 - back] : 1;
    if (a != b && (a != 1 || back < 2)) return false;
    if (b == 1) continue;
    const auto& factors = layout->dims[to.size() - 1 - back];
    const int64_t stride = a == 1 ? 0 : whole.dims[from.size() - 1 - back][0].stride;
    if (one_stride(factors) != stride) return false;
  }
  return true;
}
}  // namespace

Extents batch_dims(const Value& v) {
  Extents dims = spec_of(v).dims;
  dims.pop_back_n(2);
  return dims;
}
int64_t extent_from_last(const Value& v, size_t back) {
  return back < v.ndim() ? v.type.dims[v.ndim() - 1 - back].constant().value_or(-1) : 1;
}
bool passes_rows(const Node& node) {
  if (node.operands.empty() || view_offset(node) != 0) return false;
  const Value &x = node.operand(0), &y = node.out();
  if (x.type.dtype != y.type.dtype || x.ndim() < 2 || y.ndim() < 2) return false;
  return extent_from_last(x, 0) == extent_from_last(y, 0) && extent_from_last(x, 1) == extent_from_last(y, 1);
}

Row RowsOfNodes::of(const Node& node) {
  const auto [it, is_new] = known_.try_emplace(&node, nullptr);
  if (!is_new) return it->second;
  if (node.op->collective || node.op->is(Trait::product) || node.results.size() != 1 || node.operands.empty())
    return nullptr;
  const KernelDef* def = find_kernel(node.op->name, node.operand(0).type.dtype);
  if (!def) return nullptr;
  Work work;
  work.node = &node;
  for (const Value* v : node.operands) work.operands.push_back(spec_of(*v));
  work.results.push_back(spec_of(node.out()));
  auto kernel = def->compile(work, context_);
  if (!kernel) {
    llvm::consumeError(kernel.takeError());  // comes again where it is compiled to run
    return nullptr;
  }
  return known_[&node] = kernel->row;
}

bool ProgramBuilder::build(const Value& end) {
  if (!follows(end)) return false;
  return input(end, batch_dims(end)).has_value();
}

bool ProgramBuilder::is_matrix(const Value& v) const {
  return extent_from_last(v, 0) == request_.keys && extent_from_last(v, 1) == request_.queries;
}
bool ProgramBuilder::stands_apart(const Value& v) const {
  return v.producer && is_matrix(v) && request_.queries > 1 && request_.keys > 1 &&
         bytes_of(v) > request_.whole_bytes && !request_.standing->contains(&v);
}

bool ProgramBuilder::follows(const Value& v) {
  if (is_start(v)) return true;
  if (!v.producer) return false;
  const auto [it, is_new] = follows_.try_emplace(&v, false);
  if (!is_new) return it->second;
  const Node& node = *v.producer;
  if (!is_matrix(v) || (!passes_rows(node) && !request_.rows->of(node))) return false;
  const bool any = llvm::any_of(node.operands, [&](const Value* o) { return follows(*o); });
  return follows_[&v] = any;
}

std::optional<In> ProgramBuilder::input(const Value& v, const Extents& batch) {
  if (is_start(v)) {
    batches.push_back(batch);
    const auto index = unsigned(llvm::find(request_.starts, &v) - request_.starts.begin());
    return batch == batch_dims(v) ? std::optional(In{In::Kind::start, index}) : std::nullopt;
  }
  const auto key = std::pair(&v, batch);
  if (auto it = known_.find(key); it != known_.end()) return it->second;
  std::optional<In> made;
  const Node* node = v.producer;
  if (follows(v)) {
    if (passes_rows(*node) && follows(node->operand(0))) {
      batches.push_back(batch);
      nodes.push_back(node);
      made = input(node->operand(0), batch_dims(node->operand(0)));
    } else {
      made = add_step(v, batch, /*follows_start=*/true);
    }
  } else if (stands_apart(v) && only_broadcasts(*node)) {
    made = input(node->operand(0), batch);
    absorbed.push_back(node);
  } else if (stands_apart(v) && request_.rows->of(*node)) {
    made = add_step(v, batch, /*follows_start=*/false);
  } else {
    made = add_leaf(v, batch);
  }
  if (made) known_[key] = *made;
  return made;
}

std::optional<In> ProgramBuilder::add_step(const Value& v, const Extents& batch, bool follows_start) {
  const Node& node = *v.producer;
  if (follows_start && batch_dims(v) != batch) return std::nullopt;
  RowProgram::Step step{.node = &node,
                        .row = request_.rows->of(node),
                        .in = {},
                        .element_bytes = size_bytes(v.type.dtype),
                        .follows_start = follows_start};
  for (const Value* o : node.operands) {
    if (follows_start && follows(*o) && spec_of(*o).dims != spec_of(v).dims) return std::nullopt;
    const auto in = input(*o, batch);
    if (!in) return std::nullopt;
    step.in.push_back(*in);
  }
  if (follows_start) {
    program.is_steady = program.is_steady && is_steady(node);
    nodes.push_back(&node);
  } else {
    absorbed.push_back(&node);
  }
  program.steps.push_back(std::move(step));
  return In{In::Kind::step, unsigned(program.steps.size()) - 1};
}

// Read from as far back as a column's stride stays 0 or 1.
std::optional<In> ProgramBuilder::add_leaf(const Value& v, const Extents& batch) {
  auto is_any = [](int64_t n, int64_t whole) { return n == 1 || n == whole; };
  if (!is_any(extent_from_last(v, 0), request_.keys) || !is_any(extent_from_last(v, 1), request_.queries))
    return std::nullopt;
  auto sources = strided_sources(v, /*widened=*/false);
  for (StridedSource& source : llvm::reverse(sources)) {
    auto& dims = source.layout.dims;
    const auto column = dims.empty() ? 0 : one_stride(dims.back());
    const auto row = dims.size() < 2 ? 0 : one_stride(dims[dims.size() - 2]);
    if (!column || !row || (*column != 0 && *column != 1)) continue;
    Leaf leaf{.value = source.value, .place = {}, .batch = {}};
    leaf.place.dtype = v.type.dtype;
    leaf.place.offset = source.layout.offset;
    leaf.place.row = *row, leaf.place.column = *column;
    bool fits = true;
    for (size_t d = 0; d < batch.size(); ++d) {
      const size_t back = batch.size() + 1 - d;  // of v's dims, from the last
      const int64_t own = extent_from_last(v, back);
      fits = fits && is_any(own, batch[d]);
      if (own == 1)
        leaf.batch.push_back({batch[d], 0});
      else
        leaf.batch.append(dims[dims.size() - 1 - back].begin(), dims[dims.size() - 1 - back].end());
    }
    if (!fits) return std::nullopt;
    absorbed.append(source.passed.begin(), source.passed.end());
    leaves.push_back(std::move(leaf));
    return In{In::Kind::leaf, unsigned(leaves.size()) - 1};
  }
  return std::nullopt;
}

bool ProgramBuilder::is_steady(const Node& node) {
  if (!is_float(node.out().type.dtype)) return false;
  const Fusion fusion = fusion_of(node);
  constexpr double moderate = 1e4;
  if (fusion == Fusion::is_multiply)
    return llvm::any_of(node.operands, [&](const Value* o) {
      const auto n = number_of(*o);
      return n && std::fabs(*n) <= moderate;
    });
  if (fusion == Fusion::is_divide) {
    const auto n = number_of(node.operand(1));
    return n && std::fabs(*n) >= 1 / moderate;
  }
  return fusion == Fusion::is_add || fusion == Fusion::is_subtract || fusion == Fusion::is_steady ||
         fusion == Fusion::is_relu;
}
}  // namespace optp
