// Elementwise arithmetic of two numbers: ONNX Add, Mul, Pow, Max …
#include <cmath>

#include "passes/ops/elementwise.h"

namespace optp::ops {
namespace {
// A quotient of integers is cut off: that of a sum is not the sum of those of its parts.
llvm::Expected<Rule> division_rule(const Node& node) {
  return is_float(node.operand(0).type.dtype) ? rule_of<Linear::in_first>(node) : rule_of<Linear::none>(node);
}

// Integers by a zero that is known here: every back end answers differently, some by dying.
llvm::Expected<Types> infer_division(const Node& node) {
  auto types = infer_binary(node);
  if (!types || is_float(node.operand(1).type.dtype)) return types;
  if (auto divisor = content_of(node.operand(1)))
    if (llvm::is_contained(divisor->elements, Dim(0)))
      return error(Code::malformed).operand_of(node, 1).what("divisor").expected("no zero").found("0");
  return types;
}
// Integer arithmetic wraps, as it does on every ONNX back end; done unsigned, so that it is defined.
template <auto F>
auto wrapping = [](auto a, auto b) {
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return F(a, b);
  else
    return int64_t(F(uint64_t(a), uint64_t(b)));
};
constexpr auto divide = [](auto a, auto b) {
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return a / b;
  else
    return b == 0 ? decltype(a)(0) : (b == -1 ? decltype(a)(-uint64_t(a)) : a / b);  // ONNX Div of integers truncates
};
constexpr auto power = [](auto a, auto b) {
  const double p = std::pow(double(a), double(b));
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return p;
  else
    return p >= -0x1p63 && p < 0x1p63 ? int64_t(p) : int64_t(0);
};
constexpr auto remainder = [](auto a, auto b) {
  if constexpr (std::is_floating_point_v<decltype(a)>)
    return std::fmod(a, b);
  else {
    if (b == 0 || b == -1) return decltype(a)(0);
    const auto r = a % b;  // ONNX Mod: the sign of the divisor
    return decltype(a)(r != 0 && (r < 0) != (b < 0) ? r + b : r);
  }
};
constexpr auto larger = [](auto a, auto b) { return a != a ? a : (b != b ? b : (a > b ? a : b)); };
constexpr auto smaller = [](auto a, auto b) { return a != a ? a : (b != b ? b : (a < b ? a : b)); };

// Truncating division is floor division where both sides are known not to be negative.
Dim content_div(Dim a, Dim b) {
  if (auto q = exact_div(a, b)) return *q;
  if (!proved_less(0, b)) return Dim::overflow();
  if (known_less_equal(0, a)) return floor_div(a, b);
  return known_less_equal(a, 0) ? Dim(-1) * floor_div(Dim(-1) * a, b) : Dim::overflow();
}
Dim content_mod(Dim a, Dim b) { return b.is(0) ? Dim::overflow() : (b.is(-1) ? Dim(0) : modulo(a, b)); }
Dim content_add(Dim a, Dim b) { return a + b; }
Dim content_sub(Dim a, Dim b) { return a - b; }
Dim content_mul(Dim a, Dim b) { return a * b; }
Dim content_min(Dim a, Dim b) { return minimum(a, b); }
Dim content_max(Dim a, Dim b) { return maximum(a, b); }

// The larger (smaller) operand takes the gradient; of equal ones the first, so that no element counts twice.
template <bool larger>
void extreme_gradient(GradientContext& c) {
  const char* first = larger ? "greater_equal" : "less_equal";
  const char* second = larger ? "less" : "greater";
  if (c.needs(0)) c.dx[0] = c.unbroadcast(c.mul(c.dy, indicator(c, first, c.x(0), c.x(1))), *c.x(0));
  if (c.needs(1)) c.dx[1] = c.unbroadcast(c.mul(c.dy, indicator(c, second, c.x(0), c.x(1))), *c.x(1));
}
void power_gradient(GradientContext& c) {
  Value *x = c.x(0), *p = c.x(1);
  if (c.needs(0)) {
    std::optional<double> exponent;
    if (p->is_data() && !p->data->is_missing() && p->data->elements() == 1) exponent = to_array(*p->data).number(0);
    Value* slope = exponent == 2 ? c.mul(x, 2) : c.mul(p, c.op("pow", {x, c.add(p, -1)}));
    c.dx[0] = c.unbroadcast(c.mul(c.dy, slope), *x);
  }
  if (c.needs(1)) c.dx[1] = c.unbroadcast(c.mul(c.dy, c.mul(c.y(), c.op("log", {x}))), *p);
}

const RegisteredOp add{
    with(Trait::adds,
         differentiable(binary_op("add", "a + b", binary<wrapping<[](auto a, auto b) { return a + b; }>>,
                                  rule_of<Linear::jointly>, binary_content<content_add>),
                        [](GradientContext& c) {
                          for (unsigned k : {0u, 1u})
                            if (c.needs(k)) c.dx[k] = c.unbroadcast(c.dy, *c.x(k));
                        }),
         {"add branches", "bias"})};
const RegisteredOp sub{with(
    Trait::subtracts, differentiable(binary_op("sub", "a - b", binary<wrapping<[](auto a, auto b) { return a - b; }>>,
                                               rule_of<Linear::jointly>, binary_content<content_sub>),
                                     [](GradientContext& c) {
                                       if (c.needs(0)) c.dx[0] = c.unbroadcast(c.dy, *c.x(0));
                                       if (c.needs(1)) c.dx[1] = c.unbroadcast(c.neg(c.dy), *c.x(1));
                                     }))};
const RegisteredOp mul{
    with(Trait::multiplies,
         differentiable(binary_op("mul", "a · b", binary<wrapping<[](auto a, auto b) { return a * b; }>>,
                                  rule_of<Linear::in_each_operand>, binary_content<content_mul>),
                        [](GradientContext& c) {
                          for (unsigned k : {0u, 1u})
                            if (c.needs(k)) c.dx[k] = c.unbroadcast(c.mul(c.dy, c.x(1 - k)), *c.x(k));
                        }),
         {"multiply branches", "scale"})};
const RegisteredOp div_{
    with(Trait::divides, differentiable(binary_op("div", "a / b; integers truncate", binary<divide>, division_rule,
                                                  binary_content<content_div>, infer_division),
                                        [](GradientContext& c) {
                                          if (c.needs(0)) c.dx[0] = c.unbroadcast(c.div(c.dy, c.x(1)), *c.x(0));
                                          if (c.needs(1))
                                            c.dx[1] = c.unbroadcast(c.neg(c.div(c.mul(c.dy, c.y()), c.x(1))), *c.x(1));
                                        }))};
// a - b · q with a whole number q, which is constant between its jumps.
const RegisteredOp mod{differentiable(binary_op("mod", "remainder; sign of the divisor", binary<remainder>,
                                                rule_of<Linear::none>, binary_content<content_mod>, infer_division),
                                      [](GradientContext& c) {
                                        if (c.needs(0)) c.dx[0] = c.unbroadcast(c.dy, *c.x(0));
                                        if (c.needs(1))
                                          c.dx[1] =
                                              c.unbroadcast(c.mul(c.dy, c.div(c.sub(c.y(), c.x(0)), c.x(1))), *c.x(1));
                                      })};
const RegisteredOp pow_{differentiable(binary_op("pow", "aᵇ", binary<power>), power_gradient)};
const RegisteredOp max_{differentiable(
    binary_op("max", "larger of a and b", binary<larger>, rule_of<Linear::none>, binary_content<content_max>),
    extreme_gradient<true>)};
const RegisteredOp min_{differentiable(
    binary_op("min", "smaller of a and b", binary<smaller>, rule_of<Linear::none>, binary_content<content_min>),
    extreme_gradient<false>)};
}  // namespace
}  // namespace optp::ops
