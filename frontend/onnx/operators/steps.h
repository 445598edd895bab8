// Steps that lowerings of several operators take. A lowering is written in a Formula or step by step in its context:
// `Steps` is either.
#pragma once
#include "frontend/onnx/lowering.h"

namespace optp {
template <typename Steps>
auto iota(Steps& steps, Dim start, Dim size, Dim step = 1, DType dtype = DType::i64) {
  return steps.op("iota", {}, {{"start", start}, {"size", size}, {"step", step}, {"dtype", int64_t(dtype)}});
}
template <typename Steps>
auto slice(Steps& steps, Value* x, int64_t axis, Dim start, Dim size, int64_t step = 1) {
  return steps.op("slice", {x}, {{"axis", axis}, {"start", start}, {"size", size}, {"step", step}});
}
// [batch, n, heads · head] as [batch, heads, n, head].
inline Value* heads_apart(Formula& f, Value* x, Dim heads) {
  if (!x) return nullptr;
  const Dims d = x->type.dims;
  Value* apart = f.reshape(x, {d[0], d[1], heads, floor_div(d[2], heads)});
  return f.op("transpose", {apart}, {{"perm", llvm::SmallVector<int64_t, 4>{0, 2, 1, 3}}});
}
inline llvm::Expected<Value*> heads_apart(LoweringContext& c, Value& x, Dim heads) {
  Formula f(c.build);
  Value* y = heads_apart(f, &x, heads);
  if (auto e = f.take_error()) return e;
  return y;
}
}  // namespace optp
