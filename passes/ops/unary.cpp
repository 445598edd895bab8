// Elementwise functions of one number: ONNX Neg, Exp, Relu, Tanh …
#include <cmath>

#include "passes/ops/elementwise.h"

namespace optp::ops {
namespace {
template <auto F>
llvm::Expected<Arrays> unary_float(const Node& /*node*/, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(/*floating=*/true, in[0]->dims);
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->number(int64_t(k)));
  return single(std::move(out));
}
template <auto F>
llvm::Expected<Arrays> unary_test(const Node& /*node*/, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(/*floating=*/false, in[0]->dims);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = F(in[0]->number(int64_t(k)));
  return single(std::move(out));
}

llvm::Expected<Types> infer_float_unary(const Node& node) {
  if (!is_float(node.operand(0).type.dtype))
    return wrong_dtype(node, 0, "a floating type", long_name(node.operand(0).type.dtype));
  return one(node.operand(0).type.dtype, node.operand(0).type.dims);
}
llvm::Expected<Types> infer_test(const Node& node) {
  if (auto e = same_dtype(node, {0})) return e;
  return one(DType::boolean, node.operand(0).type.dims);
}
std::optional<Content> content_neg(const Node& node) {
  auto a = content_of(node.operand(0));
  if (!a) return std::nullopt;
  for (Dim& d : a->elements) d = Dim(-1) * d;
  return a;
}

constexpr auto negative = [](auto x) {
  if constexpr (std::is_floating_point_v<decltype(x)>)
    return -x;
  else
    return int64_t(-uint64_t(x));
};
// Of a floating operand.
OpDef float_op(const char* name, const char* summary, decltype(OpDef::evaluate) evaluate) {
  return unary_op(name, summary, evaluate, infer_float_unary);
}
OpDef neg_op() {
  OpDef op = unary_op("neg", "-x", unary_any<negative>, infer_unary, content_neg);
  op.rule = rule_of<Linear::jointly>;
  op.traits = Trait::negates;
  return op;
}
// dx = dy · f'(x) of a function of one operand; `slope` gives f'(x).
template <auto slope>
void unary_gradient(GradientContext& c) {
  c.dx[0] = c.mul(c.dy, slope(c));
}
// Piecewise constant: nothing passes, as in PyTorch.
void no_slope(GradientContext&) {}
const RegisteredOp neg{differentiable(neg_op(), [](GradientContext& c) { c.dx[0] = c.neg(c.dy); })};
const RegisteredOp abs_{
    differentiable(unary_op("abs", "|x|", unary_any<[](auto x) { return x < 0 ? negative(x) : x; }>, infer_unary),
                   unary_gradient<[](auto& c) { return c.op("sign", {c.x()}); }>)};
const RegisteredOp exp_{differentiable(float_op("exp", "eˣ", unary_float<[](double x) { return std::exp(x); }>),
                                       unary_gradient<[](auto& c) { return c.y(); }>)};
const RegisteredOp log_{
    differentiable(float_op("log", "natural logarithm", unary_float<[](double x) { return std::log(x); }>),
                   [](GradientContext& c) { c.dx[0] = c.div(c.dy, c.x()); })};
const RegisteredOp sqrt_{differentiable(float_op("sqrt", "√x", unary_float<[](double x) { return std::sqrt(x); }>),
                                        [](GradientContext& c) { c.dx[0] = c.div(c.mul(c.dy, 0.5), c.y()); })};
const RegisteredOp reciprocal{differentiable(float_op("reciprocal", "1/x", unary_float<[](double x) { return 1 / x; }>),
                                             unary_gradient<[](auto& c) { return c.neg(c.mul(c.y(), c.y())); }>)};
const RegisteredOp tanh_{
    with(Trait::activates,
         differentiable(float_op("tanh", "hyperbolic tangent", unary_float<[](double x) { return std::tanh(x); }>),
                        unary_gradient<[](auto& c) { return c.add(c.neg(c.mul(c.y(), c.y())), 1); }>))};
const RegisteredOp sigmoid{
    with(Trait::activates,
         differentiable(float_op("sigmoid", "1/(1+e⁻ˣ)", unary_float<[](double x) { return 1 / (1 + std::exp(-x)); }>),
                        unary_gradient<[](auto& c) { return c.mul(c.y(), c.add(c.neg(c.y()), 1)); }>))};
const RegisteredOp erf_{
    with(Trait::activates,
         differentiable(float_op("erf", "error function", unary_float<[](double x) { return std::erf(x); }>),
                        unary_gradient<[](auto& c) { return c.mul(c.exp(c.neg(c.mul(c.x(), c.x()))), M_2_SQRTPI); }>))};
const RegisteredOp sin_{
    with(Trait::waves, differentiable(float_op("sin", "sine", unary_float<[](double x) { return std::sin(x); }>),
                                      unary_gradient<[](auto& c) { return c.op("cos", {c.x()}); }>))};
const RegisteredOp cos_{
    with(Trait::waves, differentiable(float_op("cos", "cosine", unary_float<[](double x) { return std::cos(x); }>),
                                      unary_gradient<[](auto& c) { return c.neg(c.op("sin", {c.x()})); }>))};
const RegisteredOp floor_{
    with(Trait::rounds_down,
         differentiable(float_op("floor", "⌊x⌋", unary_float<[](double x) { return std::floor(x); }>), no_slope))};
const RegisteredOp ceil_{
    with(Trait::rounds_up,
         differentiable(float_op("ceil", "⌈x⌉", unary_float<[](double x) { return std::ceil(x); }>), no_slope))};
const RegisteredOp round_{differentiable(
    float_op("round", "nearest integer, ties to even", unary_float<[](double x) { return std::nearbyint(x); }>),
    no_slope)};
const RegisteredOp relu{
    with(Trait::activates,
         differentiable(
             unary_op("relu", "max(x, 0)", unary_any<[](auto x) { return x < 0 ? decltype(x)(0) : x; }>, infer_unary),
             unary_gradient<[](auto& c) { return indicator(c, "greater", c.y(), c.scalar(c.y()->type.dtype, 0)); }>))};
const RegisteredOp sign{differentiable(
    unary_op("sign", "-1, 0 or 1", unary_any<[](auto x) { return decltype(x)((x > 0) - (x < 0)); }>, infer_unary),
    no_slope)};
const RegisteredOp is_nan{
    unary_op("is_nan", "x is not a number", unary_test<[](double x) { return int64_t(std::isnan(x)); }>, infer_test)};
const RegisteredOp is_inf{
    unary_op("is_inf", "x is infinite", unary_test<[](double x) { return int64_t(std::isinf(x)); }>, infer_test)};
}  // namespace
}  // namespace optp::ops
