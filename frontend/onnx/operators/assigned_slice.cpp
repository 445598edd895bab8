#include "frontend/onnx/operators/assigned_slice.h"

#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"

namespace optp {
namespace {
// A tensor of integers that is start + sum of steps[d] · (index along dim d).
struct Counting {
  Dim start;
  Dims steps;
  bool operator==(const Counting&) const = default;
};

std::optional<Content> known_elements(const Value& v) {
  if (auto content = content_of(v)) return content;
  if (!v.is_data() || v.data->is_missing() || !is_integer(v.type.dtype)) return std::nullopt;
  const Array array = to_array(*v.data);
  Content out;
  out.dims.assign(array.dims.begin(), array.dims.end());
  for (int64_t element : array.i) out.elements.push_back(element);
  return out;
}
std::optional<Counting> counting(const Content& content) {
  if (content.elements.empty()) return std::nullopt;
  const size_t ndim = content.dims.size();
  llvm::SmallVector<int64_t, 4> strides(ndim, 1);
  for (size_t d = ndim; d-- > 1;) strides[d - 1] = strides[d] * content.dims[d];
  Counting out{content.elements[0], Dims(ndim, Dim(0))};
  for (size_t d = 0; d < ndim; ++d)
    if (content.dims[d] > 1) out.steps[d] = content.elements[size_t(strides[d])] - out.start;
  for (size_t k = 0; k < content.elements.size(); ++k) {
    Dim expected = out.start;
    for (size_t d = 0; d < ndim; ++d)
      expected = expected + out.steps[d] * Dim(int64_t(k) / strides[d] % content.dims[d]);
    if (content.elements[k] != expected) return std::nullopt;
  }
  return out;
}
// Dims of extent 1 come and go; all others stay.
std::optional<Counting> reshaped(const Counting& from, const Dims& dims, const Dims& to) {
  Counting out{from.start, {}};
  size_t d = 0;
  auto skip_ones = [&] {
    while (d < dims.size() && dims[d].is(1)) ++d;
  };
  for (Dim extent : to) {
    if (extent.is(1)) {
      out.steps.push_back(0);
      continue;
    }
    skip_ones();
    if (d == dims.size() || dims[d] != extent) return std::nullopt;
    out.steps.push_back(from.steps[d++]);
  }
  skip_ones();
  return d == dims.size() ? std::optional(out) : std::nullopt;
}
Counting repeated(const Counting& from, const Dims& dims, size_t ndim) {
  Counting out{from.start, Dims(ndim, Dim(0))};
  for (size_t k = 0; k < dims.size(); ++k)
    if (!dims[k].is(1)) out.steps[ndim - dims.size() + k] = from.steps[k];
  return out;
}
// A chain of views of what counts, which no file makes long.
std::optional<Counting> counting(const Value& v, int depth = 16) {
  if (const auto known = known_elements(v)) return counting(*known);
  if (!v.producer || depth == 0) return std::nullopt;
  const Node& node = *v.producer;
  if (node.op->is(Trait::counts) && v.ndim() == 1) return Counting{node.dim("start"), {node.dim("step", 1)}};
  if (!node.op->is(Trait::reshapes | Trait::repeats) && !(node.op->is(Trait::converts) && v.type.dtype == DType::i64))
    return std::nullopt;
  const Dims& dims = node.operand(0).type.dims;
  const auto from = counting(node.operand(0), depth - 1);
  if (!from) return std::nullopt;
  if (node.op->is(Trait::reshapes)) return reshaped(*from, dims, v.type.dims);
  return node.op->is(Trait::repeats) ? repeated(*from, dims, v.ndim()) : *from;
}
// Each component of the tuples.
std::optional<llvm::SmallVector<Counting, 4>> components(const Value& index) {
  llvm::SmallVector<Counting, 4> out;
  const auto last = index.ndim() ? index.type.dims.back().constant() : std::nullopt;
  if (const auto known = known_elements(index)) {
    for (int64_t k = 0; k < last.value_or(0); ++k) {
      Content one{{known->dims.begin(), known->dims.end() - 1}, {}};
      for (size_t e = size_t(k); e < known->elements.size(); e += size_t(*last))
        one.elements.push_back(known->elements[e]);
      auto counts = counting(one);
      if (!counts) return std::nullopt;
      out.push_back(std::move(*counts));
    }
    return out;
  }
  llvm::SmallVector<const Value*, 4> parts{&index};
  if (last && *last > 1) {
    const Node* join = index.producer;
    if (!join || !join->op->is(Trait::joins) || join->integer("axis") != int64_t(index.ndim()) - 1) return std::nullopt;
    parts.assign(join->operands.begin(), join->operands.end());
  }
  for (const Value* part : parts) {
    auto one = part->type.dims.back().is(1) ? counting(*part) : std::nullopt;
    if (!one) return std::nullopt;
    one->steps.pop_back();
    out.push_back(std::move(*one));
  }
  return out;
}
}  // namespace

std::optional<AssignedSlice> assigned_slice(const Value& index, const Dims& data) {
  const auto found = components(index);
  if (!found || found->size() + 1 != index.ndim() || found->size() > data.size()) return std::nullopt;
  std::optional<AssignedSlice> out;
  for (size_t d = 0; d < found->size(); ++d) {
    const Dim extent = index.type.dims[d];
    const Counting& at = (*found)[d];
    for (size_t e = 0; e < at.steps.size(); ++e)
      if (!index.type.dims[e].is(1) && at.steps[e] != Dim(e == d ? 1 : 0)) return std::nullopt;
    if (at.start.is(0) && extent == data[d]) continue;
    if (out || !proved_less_equal(0, at.start) || !proved_less_equal(at.start + extent, data[d])) return std::nullopt;
    out = AssignedSlice{d, at.start};
  }
  return out ? *out : AssignedSlice{0, 0};
}
}  // namespace optp
