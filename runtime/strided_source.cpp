#include "runtime/strided_source.h"

#include <cassert>

#include "frontend/ir/op.h"

namespace optp {
namespace {
StridedLayout dense_layout(const Value& v) {
  StridedLayout out;
  const auto dims = spec_of(v).dims;
  out.dims.resize(dims.size());
  int64_t stride = 1;
  for (size_t d = dims.size(); d-- > 0; stride *= dims[d]) out.dims[d].push_back({dims[d], stride});
  return out;
}
bool widens(const Node& node) {
  return node.op->is(Trait::converts) && is_half(node.operand(0).type.dtype) && node.out().type.dtype == DType::f32;
}
}  // namespace

std::vector<StridedSource> strided_sources(const Value& value, bool widened) {
  constexpr size_t most = 8;
  std::vector<StridedSource> out{{&value, dense_layout(value), {}}};
  std::vector<const Node*> passed;
  const Value* at = &value;
  while (at->producer && !at->producer->operands.empty() && passed.size() < most) {
    const Node& node = *at->producer;
    const bool is_widening = widens(node);
    if (is_widening ? !widened : !layout_through(node, dense_layout(node.operand(0))).has_value()) break;
    widened = widened && !is_widening;
    passed.push_back(&node);
    at = &node.operand(0);
    std::optional<StridedLayout> layout = dense_layout(*at);
    for (size_t k = passed.size(); k-- > 0 && layout;)
      if (!widens(*passed[k])) layout = layout_through(*passed[k], *layout);
    if (layout) out.push_back({at, std::move(*layout), passed});
  }
  return out;
}

std::optional<int64_t> one_stride(llvm::ArrayRef<Factor> dim) {
  std::optional<Factor> last;
  for (const Factor& f : dim) {
    if (f.extent == 1) continue;
    if (last && last->stride != f.extent * f.stride) return std::nullopt;
    last = f;
  }
  return last ? last->stride : 0;
}

std::optional<Extents> refined(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b) {
  Extents out;
  int64_t x = 1, y = 1;
  for (;;) {
    while (x == 1 && !a.empty()) x = a.front(), a = a.drop_front();
    while (y == 1 && !b.empty()) y = b.front(), b = b.drop_front();
    const int64_t step = std::min(x, y);
    if (step == 1) return x == y ? std::optional(std::move(out)) : std::nullopt;
    if (x % step || y % step) return std::nullopt;
    out.push_back(step), x /= step, y /= step;
  }
}

Extents strides_along(llvm::ArrayRef<Factor> factors, llvm::ArrayRef<int64_t> extents) {
  Extents out;
  Factor rest;
  for (int64_t n : extents) {
    while (rest.extent == 1 && !factors.empty()) rest = factors.front(), factors = factors.drop_front();
    assert(rest.extent % n == 0 && "the extents are a refinement of the factors");
    rest.extent /= n;
    out.push_back(rest.extent * rest.stride);
  }
  return out;
}
}  // namespace optp
