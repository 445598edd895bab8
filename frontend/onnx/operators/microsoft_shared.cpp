// The steps that com.microsoft's attention operators share.
#include <cmath>

#include "frontend/onnx/operators/microsoft_attention.h"

namespace optp::microsoft {
namespace {
// Each key head serves a group of consecutive query heads.
Value* repeated(Formula& f, Value* x, Dim heads) {
  if (!x || x->type.dims[1] == heads || x->type.dims[1].is(0)) return x;
  const Dims d = x->type.dims;
  Value* apart = f.reshape(x, {d[0], d[1], Dim(1), d[2], d[3]});
  return f.reshape(f.expand(apart, {d[0], d[1], floor_div(heads, d[1]), d[2], d[3]}), {d[0], heads, d[2], d[3]});
}
}  // namespace

Value* heads_joined(Formula& f, Value* x) {
  Value* turned = f.op("transpose", {x}, {{"perm", llvm::SmallVector<int64_t, 4>{0, 2, 1, 3}}});
  if (!turned) return nullptr;
  const Dims d = turned->type.dims;
  return f.reshape(turned, {d[0], d[1], d[2] * d[3]});
}
Value* joined(Formula& f, Value* before, Value* after) {
  return before ? f.op("concat", {before, after}, {{"axis", int64_t(2)}}) : after;
}
void keep_causal(Formula& f, Mask& mask, Value* positions, Dim keys, int64_t window, DType dtype) {
  Value* column = iota(f, 0, keys);
  mask.keep(f, f.op("less_equal", {column, positions}), dtype, lowest);
  if (window > 0) mask.keep(f, f.op("greater", {column, f.add(positions, double(-window))}), dtype, lowest);
}
void keep_causal(Formula& f, Mask& mask, Dim past, Dim queries, Dim keys, int64_t window, DType dtype) {
  keep_causal(f, mask, f.reshape(iota(f, past, queries), {queries, 1}), keys, window, dtype);
}
namespace {
// The keys below the counts, or from the starts behind them on. The extent says which: the batch, or twice as many.
// A name of its own would say neither.
llvm::Expected<Value*> counted_keys(LoweringContext& c, Formula& f, const KeyMask& which, Value* given, Dim batch,
                                    Dim keys) {
  const Value& operand = *c.operands[which.operand];
  const Dim extent = operand.type.dims[0];
  const bool has_starts = which.may_have_starts && extent == batch * Dim(2);
  if (extent != batch && !has_starts) {
    const bool is_packed = extent == batch * Dim(3) + 2;
    return c.fail(is_packed ? Code::not_supported : Code::shape_mismatch)
        .operand(which.operand, operand.name)
        .what(which.name + (is_packed ? ", counts and offsets of packed sequences" : ""))
        .expected("[" + batch.text() + "], as many as sequences of the batch" +
                  (which.may_have_starts ? ", or [" + (batch * Dim(2)).text() + "]" : ""))
        .found(to_string(operand.type.dims));
  }
  auto bound = [&](Dim start) {
    return f.reshape(has_starts ? slice(f, given, 0, start, batch) : given, {batch, 1, 1, 1});
  };
  Value* kept = f.op("less", {iota(f, 0, keys), bound(0)});
  return has_starts ? f.op("and", {kept, f.op("greater_equal", {iota(f, 0, keys), bound(batch)})}) : kept;
}
}  // namespace
llvm::Error keep_valid(LoweringContext& c, Formula& f, Mask& mask, const KeyMask& which, Dim batch, Dim keys,
                       DType dtype) {
  Value* given = c.operands[which.operand];
  const Dims d = given->type.dims;
  if (is_float(given->type.dtype) || given->type.dtype == DType::string || d.empty() || d.size() > 3)
    return c.fail(Code::not_supported)
        .operand(which.operand, given->name)
        .what(which.name)
        .expected("integers of [batch], [batch, keys] or [batch, queries, keys]")
        .found(to_string(given->type));
  Value* number = f.cast(given, DType::i64);
  Value* condition = nullptr;
  if (d.size() == 1) {
    OPTP_TRY(kept, counted_keys(c, f, which, number, batch, keys));
    condition = kept;
  } else {
    condition = f.op("greater",
                     {d.size() == 2 ? f.reshape(number, {d[0], 1, 1, d[1]}) : f.reshape(number, {d[0], 1, d[1], d[2]}),
                      f.scalar(DType::i64, 0)});
  }
  mask.keep(f, condition, dtype, c.number("mask_filter_value", -10000));
  return llvm::Error::success();
}
llvm::Expected<double> scale_of(LoweringContext& c, Dim head) {
  if (const double given = c.number("scale", 0); given != 0) return given;
  if (auto n = head.constant()) return 1 / std::sqrt(double(*n));
  return c.fail(Code::malformed).what("head size " + head.text()).says("is not known at compile time");
}
Value* attended(Formula& f, Value* q, Value* k, Value* v, const Mask& mask, double scale, double softcap) {
  if (!q || !k || !v) return nullptr;
  const Dim heads = q->type.dims[1];
  Value* scores = f.op("contract", {f.mul(q, scale), repeated(f, k, heads)},
                       {{"loops", contract_loops("b h s d, b h t d -> b h s t")}});
  if (softcap > 0) scores = f.mul(f.op("tanh", {f.mul(scores, 1 / softcap)}), softcap);
  if (mask.sum) scores = f.add(scores, mask.sum);
  Value* weights = f.op("softmax", {scores}, {{"axis", int64_t(3)}});
  return f.op("contract", {weights, repeated(f, v, heads)}, {{"loops", contract_loops("b h s t, b h t d -> b h s d")}});
}
llvm::Expected<int64_t> head_count(LoweringContext& c, llvm::StringRef attribute, Dim hidden) {
  const int64_t heads = c.integer(attribute, 0);
  if (heads > 0 && exact_div(hidden, heads)) return heads;
  return c.fail(Code::malformed).what(attribute).expected("a divisor of hidden size " + hidden.text()).found(heads);
}
llvm::Error has_dims(LoweringContext& c, size_t operand, size_t ndim) {
  const Value& v = *c.operands[operand];
  if (v.ndim() == ndim) return llvm::Error::success();
  return c.fail(Code::shape_mismatch)
      .operand(operand, v.name)
      .expected(llvm::Twine(ndim) + " dims")
      .found(to_string(v.type.dims));
}
}  // namespace optp::microsoft
