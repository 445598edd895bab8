// Normalisations over the dims behind the channels: InstanceNormalization, GroupNormalization, and BatchNormalization
// as it runs in inference.
//   x: [batch, channels, …], seen as [batch, groups, channels of a group · …]; mean and variance over the last
#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
// [n] along dim 1 of x.
Value* along_channels(Formula& f, Value* v, size_t ndim) {
  if (!v) return nullptr;
  Dims dims(ndim - 1, Dim(1));
  dims[0] = v->type.dims[0];
  return f.reshape(v, dims);
}
llvm::Error has_channels(LoweringContext& c, const Value& x) {
  if (x.ndim() >= 2) return llvm::Error::success();
  return c.fail(Code::shape_mismatch).operand(0, x.name).expected("[batch, channels, …]").found(to_string(x.type.dims));
}
llvm::Error is_list_of(LoweringContext& c, size_t operand, const Value& v, Dim n) {
  if (llvm::ArrayRef<Dim>(v.type.dims) == llvm::ArrayRef<Dim>(n)) return llvm::Error::success();
  return c.fail(Code::shape_mismatch)
      .operand(operand, v.name)
      .what("shape")
      .expected("[" + n.text() + "]")
      .found(to_string(v.type.dims));
}
// (x - mean) / √(variance + epsilon) within each group, in x's shape.
Value* normal_within(Formula& f, Value* x, Dim groups, double epsilon) {
  const Dims dims = x->type.dims;
  const Dim rest = *exact_div(product(llvm::ArrayRef<Dim>(dims).drop_front(1)), groups);
  Value* rows = f.reshape(x, {dims[0], groups, rest});
  Value* centred = f.sub(rows, f.mean(rows, {2}, /*keepdims=*/true));
  Value* variance = f.mean(f.mul(centred, centred), {2}, /*keepdims=*/true);
  return f.reshape(f.div(centred, f.sqrt(f.add(variance, epsilon))), dims);
}
// Half precision is normalised in float32, as stash_type says.
DType wide(DType dtype) { return is_half(dtype) ? DType::f32 : dtype; }

Lowered instance_normalization(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(scale, c.need(1));
  OPTP_TRY(bias, c.need(2));
  if (auto e = has_channels(c, *x)) return e;
  for (size_t k : {1u, 2u})
    if (auto e = is_list_of(c, k, *c.operands[k], x->type.dims[1])) return e;
  Formula f(c.build);
  const DType dtype = x->type.dtype;
  Value* y = f.cast(normal_within(f, f.cast(x, wide(dtype)), x->type.dims[1], c.number("epsilon", 1e-5)), dtype);
  Value* shift = along_channels(f, bias, x->ndim());
  return made_by(f, {f.add(f.mul(y, along_channels(f, scale, x->ndim())), shift)});
}
// Opset 18 has a scale for each group, 21 one for each channel.
Lowered group_normalization(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(scale, c.need(1));
  OPTP_TRY(bias, c.need(2));
  if (auto e = has_channels(c, *x)) return e;
  const int64_t groups = c.integer("num_groups", 0);
  c.integer("stash_type", 1);
  const auto each = groups > 0 ? exact_div(x->type.dims[1], groups) : std::nullopt;
  if (!each)
    return c.fail(Code::malformed)
        .what("num_groups")
        .expected("a divisor of " + x->type.dims[1].text() + " channels")
        .found(groups);
  const bool by_channel = c.opset >= 21;
  for (size_t k : {1u, 2u})
    if (auto e = is_list_of(c, k, *c.operands[k], by_channel ? x->type.dims[1] : Dim(groups))) return e;
  Formula f(c.build);
  const DType dtype = x->type.dtype;
  Value* y = f.cast(normal_within(f, f.cast(x, wide(dtype)), groups, c.number("epsilon", 1e-5)), dtype);
  auto of_channels = [&](Value* v) {
    if (!by_channel) v = f.reshape(f.expand(f.reshape(v, {Dim(groups), 1}), {Dim(groups), *each}), {x->type.dims[1]});
    return along_channels(f, v, x->ndim());
  };
  Value* shift = of_channels(bias);
  return made_by(f, {f.add(f.mul(y, of_channels(scale)), shift)});
}
Lowered batch_normalization(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  if (auto e = has_channels(c, *x)) return e;
  for (size_t k = 1; k < 5; ++k) {
    OPTP_TRY(v, c.need(k));
    if (auto e = is_list_of(c, k, *v, x->type.dims[1])) return e;
  }
  c.number("momentum", 0.9);
  if (c.integer("training_mode", 0) != 0)
    return c.fail(Code::not_supported).what("training_mode 1").hint("export with model.eval()");
  Formula f(c.build);
  const DType dtype = x->type.dtype;
  auto channels = [&](size_t k) { return along_channels(f, f.cast(c.operands[k], wide(dtype)), x->ndim()); };
  Value *deviation = f.sqrt(f.add(channels(4), c.number("epsilon", 1e-5))), *mean = channels(3);
  Value* y = f.div(f.sub(f.cast(x, wide(dtype)), mean), deviation);
  Value* bias = channels(2);
  return made_by(f, {f.cast(f.add(f.mul(y, channels(1)), bias), dtype)});
}

const LoweringRow rows[] = {
    {"InstanceNormalization", 6, instance_normalization},
    {"GroupNormalization", 18, group_normalization},
    {"BatchNormalization", 9, batch_normalization},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
