// Activations that are formulas of simpler functions. Where a branch is taken by x's sign, the other branch's exponent
// is held at 0, so that it has no overflow whose gradient would be 0 · ∞.
#include "frontend/onnx/lowering.h"

namespace optp {
namespace {
// y = formula(f, x) of operand 0, which is a floating type.
template <typename F>
Lowered of_x(LoweringContext& c, F&& formula) {
  OPTP_TRY(x, c.need_float(0));
  Formula f(c.build);
  return made_by(f, {formula(f, x)});
}
Value* above(Formula& f, Value* x, double least) { return f.op("max", {x, f.scalar(x->type.dtype, least)}); }
Value* below(Formula& f, Value* x, double most) { return f.op("min", {x, f.scalar(x->type.dtype, most)}); }
Value* is_above(Formula& f, Value* x, double bound) { return f.op("greater", {x, f.scalar(x->type.dtype, bound)}); }
Value* where(Formula& f, Value* condition, Value* x, Value* y) { return f.op("where", {condition, x, y}); }

// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|)
Value* softplus_of(Formula& f, Value* x) {
  Value* bend = f.op("log", {f.add(f.exp(f.neg(f.op("abs", {x}))), 1)});
  return f.add(above(f, x, 0), bend);
}
// scale · (eˣ - 1) below 0
Value* exponential_below(Formula& f, Value* x, double scale) { return f.mul(f.add(f.exp(below(f, x, 0)), -1), scale); }
Value* hard_sigmoid_of(Formula& f, Value* x, double alpha, double beta) {
  Value* line = f.add(f.mul(x, alpha), beta);
  return line ? below(f, above(f, line, 0), 1) : nullptr;
}

Lowered softplus(LoweringContext& c) { return of_x(c, softplus_of); }
Lowered softsign(LoweringContext& c) {
  return of_x(c, [](Formula& f, Value* x) { return f.div(x, f.add(f.op("abs", {x}), 1)); });
}
Lowered elu(LoweringContext& c) {  // Clevert et al., arXiv:1511.07289
  return of_x(c, [&](Formula& f, Value* x) {
    Value* bend = exponential_below(f, x, c.number("alpha", 1));
    return where(f, is_above(f, x, 0), x, bend);
  });
}
Lowered selu(LoweringContext& c) {  // Klambauer et al., arXiv:1706.02515
  return of_x(c, [&](Formula& f, Value* x) {
    const double alpha = c.number("alpha", 1.67326319217681884765625),
                 gamma = c.number("gamma", 1.05070102214813232421875);
    Value *bend = exponential_below(f, x, gamma * alpha), *line = f.mul(x, gamma);
    return where(f, is_above(f, x, 0), line, bend);
  });
}
Lowered celu(LoweringContext& c) {  // max(x, 0) + min(0, α (e^(x/α) - 1)), Barron, arXiv:1704.07483
  const double alpha = c.number("alpha", 1);
  if (alpha == 0) return c.fail(Code::malformed).what("alpha").expected("another number than 0");
  return of_x(c, [&](Formula& f, Value* x) {
    Value* ratio = f.mul(x, 1 / alpha);
    Value* bend = alpha > 0 ? exponential_below(f, ratio, alpha) : f.mul(f.add(f.exp(ratio), -1), alpha);
    if (bend) bend = below(f, bend, 0);
    return bend ? f.add(above(f, x, 0), bend) : bend;
  });
}
Lowered hard_sigmoid(LoweringContext& c) {
  return of_x(c, [&](Formula& f, Value* x) {
    return hard_sigmoid_of(f, x, c.number("alpha", 0.20000000298023223876953125), c.number("beta", 0.5));
  });
}
Lowered hard_swish(LoweringContext& c) {  // Howard et al., arXiv:1905.02244
  return of_x(c, [](Formula& f, Value* x) { return f.mul(x, hard_sigmoid_of(f, x, 1.0 / 6, 0.5)); });
}
Lowered mish(LoweringContext& c) {  // x · tanh(softplus(x)), Misra, arXiv:1908.08681
  return of_x(c, [](Formula& f, Value* x) { return f.mul(x, f.op("tanh", {softplus_of(f, x)})); });
}
Lowered thresholded_relu(LoweringContext& c) {
  return of_x(c, [&](Formula& f, Value* x) {
    Value* zero = f.scalar(x->type.dtype, 0);
    return where(f, is_above(f, x, c.number("alpha", 1)), x, zero);
  });
}
Lowered shrink(LoweringContext& c) {  // x + bias below -lambd, x - bias above it, 0 between
  return of_x(c, [&](Formula& f, Value* x) {
    const double bias = c.number("bias", 0), lambda = c.number("lambd", 0.5);
    Value* is_low = f.op("less", {x, f.scalar(x->type.dtype, -lambda)});
    Value *zero = f.scalar(x->type.dtype, 0), *less = f.add(x, -bias);
    Value* rest = where(f, is_above(f, x, lambda), less, zero);
    return where(f, is_low, f.add(x, bias), rest);
  });
}
Lowered prelu(LoweringContext& c) {  // slope is broadcast to x
  OPTP_TRY(slope, c.need(1));
  return of_x(c, [&](Formula& f, Value* x) {
    Value* is_negative = f.op("less", {x, f.scalar(x->type.dtype, 0)});
    return where(f, is_negative, f.mul(x, slope), x);
  });
}

const LoweringRow rows[] = {
    {"Softplus", 1, softplus},
    {"Softsign", 1, softsign},
    {"Elu", 6, elu},
    {"Selu", 6, selu},
    {"Celu", 12, celu},
    {"HardSigmoid", 6, hard_sigmoid},
    {"HardSwish", 14, hard_swish},
    {"Mish", 18, mish},
    {"ThresholdedRelu", 10, thresholded_relu},
    {"Shrink", 9, shrink},
    {"PRelu", 7, prelu},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
