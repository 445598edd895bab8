// Elementwise arithmetic with numpy's broadcasting: ONNX Add, Mul, Relu, Where, Cast … Their one rule: a loop a result
// dim.
#include <cmath>

#include "frontend/ir/formula.h"
#include "passes/ops/support.h"

namespace optp::ops {
namespace {

template <auto F>
llvm::Expected<Arrays> unary_float(const Node& node, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(true, in[0]->dims);
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->number(int64_t(k)));
  return single(std::move(out));
}
template <auto F>
llvm::Expected<Arrays> unary_any(const Node& node, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(in[0]->is_float, in[0]->dims);
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->f[k]);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = F(in[0]->i[k]);
  return single(std::move(out));
}
template <auto F>
llvm::Expected<Arrays> unary_test(const Node& node, llvm::ArrayRef<const Array*> in) {
  Array out;
  out.resize(false, in[0]->dims);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = F(in[0]->number(int64_t(k)));
  return single(std::move(out));
}

llvm::Expected<Types> infer_float_unary(const Node& node) {
  if (!is_float(node.operand(0).type.dtype))
    return wrong_dtype(node, 0, "a floating type", long_name(node.operand(0).type.dtype));
  return one(node.operand(0).type.dtype, node.operand(0).type.dims);
}
llvm::Expected<Types> infer_unary(const Node& node) {
  if (auto e = same_dtype(node, {0})) return e;
  return one(node.operand(0).type.dtype, node.operand(0).type.dims);
}
llvm::Expected<Types> infer_test(const Node& node) {
  if (auto e = same_dtype(node, {0})) return e;
  return one(DType::boolean, node.operand(0).type.dims);
}
template <Linear linear>
llvm::Expected<Rule> rule_of(const Node& node) {
  auto rule = elementwise_rule(node);
  if (rule) rule->linear = linear;
  return rule;
}

// A quotient of integers is cut off: that of a sum is not the sum of those of its parts.
llvm::Expected<Rule> division_rule(const Node& node) {
  return is_float(node.operand(0).type.dtype) ? rule_of<Linear::in_first>(node) : rule_of<Linear::none>(node);
}

llvm::Expected<Types> infer_binary(const Node& node) {
  if (auto e = same_dtype(node, {0, 1})) return e;
  auto dims = broadcast(node, {&node.operand(0), &node.operand(1)});
  if (!dims) return dims.takeError();
  return one(node.operand(0).type.dtype, *dims);
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
llvm::Expected<Types> infer_compare(const Node& node) {
  auto types = infer_binary(node);
  if (types) (*types)[0].dtype = DType::boolean;
  return types;
}
llvm::Expected<Types> infer_logical(const Node& node) {
  for (unsigned k = 0; k < node.operands.size(); ++k)
    if (node.operand(k).type.dtype != DType::boolean)
      return wrong_dtype(node, k, "bool", long_name(node.operand(k).type.dtype));
  return node.operands.size() == 1 ? infer_unary(node) : infer_binary(node);
}

template <auto F, bool test = false>
llvm::Expected<Arrays> binary(const Node& node, llvm::ArrayRef<const Array*> in) {
  const Ints dims = numbers(node.out().type.dims);
  Array out;
  const bool floating = in[0]->is_float;
  out.resize(floating && !test, dims);
  walk_rows(dims, {broadcast_strides(in[0]->dims, dims), broadcast_strides(in[1]->dims, dims)},
            [&](int64_t to, llvm::ArrayRef<int64_t> at, int64_t count, llvm::ArrayRef<int64_t> step) {
              auto row = [&]<typename T>(T* y, const auto* a, const auto* b) {
                for (int64_t k = 0; k < count; ++k) y[k] = T(F(a[k * step[0]], b[k * step[1]]));
              };
              const auto apply = [&](const auto& a, const auto& b) {
                if (out.is_float)
                  row(out.f.data() + to, a.data() + at[0], b.data() + at[1]);
                else
                  row(out.i.data() + to, a.data() + at[0], b.data() + at[1]);
              };
              if (floating)
                apply(in[0]->f, in[1]->f);
              else
                apply(in[0]->i, in[1]->i);
            });
  return single(std::move(out));
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

template <Dim (*F)(Dim, Dim)>
std::optional<Content> binary_content(const Node& node) {
  auto a = content_of(node.operand(0)), b = content_of(node.operand(1));
  const Ints dims = numbers(node.out().type.dims);
  if (!a || !b || !is_small(dims)) return std::nullopt;
  Content out;
  out.dims.assign(dims.begin(), dims.end());
  bool known = true;
  walk(dims, {broadcast_strides(a->dims, dims), broadcast_strides(b->dims, dims)},
       [&](int64_t, llvm::ArrayRef<int64_t> at) {
         out.elements.push_back(F(a->elements[size_t(at[0])], b->elements[size_t(at[1])]));
         if (out.elements.back().is_overflow()) known = false;
       });
  if (!known) return std::nullopt;
  return out;
}
// Truncating division is floor division where both sides are known not to be negative.
Dim content_div(Dim a, Dim b) {
  if (auto q = exact_div(a, b)) return *q;
  auto la = lower_bound(a), lb = lower_bound(b);
  return la && lb && *la >= 0 && *lb > 0 ? floor_div(a, b) : Dim::overflow();
}
Dim content_mod(Dim a, Dim b) { return b.is(0) ? Dim::overflow() : (b.is(-1) ? Dim(0) : modulo(a, b)); }
Dim content_add(Dim a, Dim b) { return a + b; }
Dim content_sub(Dim a, Dim b) { return a - b; }
Dim content_mul(Dim a, Dim b) { return a * b; }
// Comparisons give 0 or 1 where they can be proved, and unknown (overflow) where not.
Dim content_equal(Dim a, Dim b) {
  if (a == b) return 1;
  return proved_less(a, b) || proved_less(b, a) ? Dim(0) : Dim::overflow();
}
Dim content_less(Dim a, Dim b) {
  return proved_less(a, b) ? Dim(1) : (proved_less_equal(b, a) ? Dim(0) : Dim::overflow());
}
Dim content_less_equal(Dim a, Dim b) {
  return proved_less_equal(a, b) ? Dim(1) : (proved_less(b, a) ? Dim(0) : Dim::overflow());
}
Dim content_greater(Dim a, Dim b) { return content_less(b, a); }
Dim content_greater_equal(Dim a, Dim b) { return content_less_equal(b, a); }
Dim content_and(Dim a, Dim b) { return a * b; }
Dim content_or(Dim a, Dim b) { return a + b - a * b; }
Dim content_min(Dim a, Dim b) { return minimum(a, b); }
Dim content_max(Dim a, Dim b) { return maximum(a, b); }

std::optional<Content> content_not(const Node& node) {
  auto a = content_of(node.operand(0));
  if (!a) return std::nullopt;
  for (Dim& d : a->elements) d = Dim(1) - d;
  return a;
}
std::optional<Content> content_neg(const Node& node) {
  auto a = content_of(node.operand(0));
  if (!a) return std::nullopt;
  for (Dim& d : a->elements) d = Dim(-1) * d;
  return a;
}

OpDef unary_op(const char* name, const char* summary, decltype(OpDef::evaluate) evaluate,
               decltype(OpDef::infer) infer = infer_float_unary, decltype(OpDef::content) content = nullptr) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.rule = rule_of<Linear::none>;
  op.infer = infer;
  op.evaluate = evaluate;
  op.content = content;
  return op;
}
constexpr auto negative = [](auto x) {
  if constexpr (std::is_floating_point_v<decltype(x)>)
    return -x;
  else
    return int64_t(-uint64_t(x));
};
OpDef neg_op() {
  OpDef op = unary_op("neg", "-x", unary_any<negative>, infer_unary, content_neg);
  op.rule = rule_of<Linear::jointly>;
  return op;
}
OpDef binary_op(const char* name, const char* summary, decltype(OpDef::evaluate) evaluate,
                decltype(OpDef::rule) rule = rule_of<Linear::none>, decltype(OpDef::content) content = nullptr,
                decltype(OpDef::infer) infer = infer_binary) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.operands = 2;
  op.rule = rule;
  op.infer = infer;
  op.evaluate = evaluate;
  op.content = content;
  op.examples = {};
  return op;
}

OpDef differentiable(OpDef op, decltype(OpDef::gradient) gradient) {
  op.gradient = gradient;
  return op;
}
// dx = dy · f'(x) of a function of one operand; `slope` gives f'(x).
template <auto slope>
void unary_gradient(GradientContext& c) {
  c.dx[0] = c.mul(c.dy, slope(c));
}
// Piecewise constant: nothing passes, as in PyTorch.
void no_slope(GradientContext&) {}
// A truth value as 1 or 0, to be multiplied with.
Value* indicator(GradientContext& c, llvm::StringRef test, Value* a, Value* b) {
  return c.cast(c.op(test, {a, b}), c.dy->type.dtype);
}
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

OpDef with(Trait trait, OpDef op) {
  op.traits = op.traits | trait;
  return op;
}
const RegisteredOp neg{differentiable(neg_op(), [](GradientContext& c) { c.dx[0] = c.neg(c.dy); })};
const RegisteredOp abs_{
    differentiable(unary_op("abs", "|x|", unary_any<[](auto x) { return x < 0 ? negative(x) : x; }>, infer_unary),
                   unary_gradient<[](auto& c) { return c.op("sign", {c.x()}); }>)};
const RegisteredOp exp_{differentiable(unary_op("exp", "eˣ", unary_float<[](double x) { return std::exp(x); }>),
                                       unary_gradient<[](auto& c) { return c.y(); }>)};
const RegisteredOp log_{
    differentiable(unary_op("log", "natural logarithm", unary_float<[](double x) { return std::log(x); }>),
                   [](GradientContext& c) { c.dx[0] = c.div(c.dy, c.x()); })};
const RegisteredOp sqrt_{differentiable(unary_op("sqrt", "√x", unary_float<[](double x) { return std::sqrt(x); }>),
                                        [](GradientContext& c) { c.dx[0] = c.div(c.mul(c.dy, 0.5), c.y()); })};
const RegisteredOp reciprocal{differentiable(unary_op("reciprocal", "1/x", unary_float<[](double x) { return 1 / x; }>),
                                             unary_gradient<[](auto& c) { return c.neg(c.mul(c.y(), c.y())); }>)};
const RegisteredOp tanh_{
    differentiable(unary_op("tanh", "hyperbolic tangent", unary_float<[](double x) { return std::tanh(x); }>),
                   unary_gradient<[](auto& c) { return c.add(c.neg(c.mul(c.y(), c.y())), 1); }>)};
const RegisteredOp sigmoid{
    differentiable(unary_op("sigmoid", "1/(1+e⁻ˣ)", unary_float<[](double x) { return 1 / (1 + std::exp(-x)); }>),
                   unary_gradient<[](auto& c) { return c.mul(c.y(), c.add(c.neg(c.y()), 1)); }>)};
const RegisteredOp erf_{
    differentiable(unary_op("erf", "error function", unary_float<[](double x) { return std::erf(x); }>),
                   unary_gradient<[](auto& c) { return c.mul(c.exp(c.neg(c.mul(c.x(), c.x()))), M_2_SQRTPI); }>)};
const RegisteredOp sin_{
    with(Trait::waves, differentiable(unary_op("sin", "sine", unary_float<[](double x) { return std::sin(x); }>),
                                      unary_gradient<[](auto& c) { return c.op("cos", {c.x()}); }>))};
const RegisteredOp cos_{
    with(Trait::waves, differentiable(unary_op("cos", "cosine", unary_float<[](double x) { return std::cos(x); }>),
                                      unary_gradient<[](auto& c) { return c.neg(c.op("sin", {c.x()})); }>))};
const RegisteredOp floor_{
    differentiable(unary_op("floor", "⌊x⌋", unary_float<[](double x) { return std::floor(x); }>), no_slope)};
const RegisteredOp ceil_{
    differentiable(unary_op("ceil", "⌈x⌉", unary_float<[](double x) { return std::ceil(x); }>), no_slope)};
const RegisteredOp round_{differentiable(
    unary_op("round", "nearest integer, ties to even", unary_float<[](double x) { return std::nearbyint(x); }>),
    no_slope)};
const RegisteredOp relu{differentiable(
    unary_op("relu", "max(x, 0)", unary_any<[](auto x) { return x < 0 ? decltype(x)(0) : x; }>, infer_unary),
    unary_gradient<[](auto& c) { return indicator(c, "greater", c.y(), c.scalar(c.y()->type.dtype, 0)); }>)};
const RegisteredOp sign{differentiable(
    unary_op("sign", "-1, 0 or 1", unary_any<[](auto x) { return decltype(x)((x > 0) - (x < 0)); }>, infer_unary),
    no_slope)};
const RegisteredOp is_nan{
    unary_op("is_nan", "x is not a number", unary_test<[](double x) { return int64_t(std::isnan(x)); }>, infer_test)};
const RegisteredOp is_inf{
    unary_op("is_inf", "x is infinite", unary_test<[](double x) { return int64_t(std::isinf(x)); }>, infer_test)};
const RegisteredOp not_{
    unary_op("not", "logical not", unary_any<[](auto x) { return decltype(x)(x == 0); }>, infer_logical, content_not)};

const RegisteredOp add{
    with(Trait::adds, differentiable(binary_op("add", "a + b", binary<wrapping<[](auto a, auto b) { return a + b; }>>,
                                               rule_of<Linear::jointly>, binary_content<content_add>),
                                     [](GradientContext& c) {
                                       for (unsigned k : {0u, 1u})
                                         if (c.needs(k)) c.dx[k] = c.unbroadcast(c.dy, *c.x(k));
                                     }))};
const RegisteredOp sub{differentiable(binary_op("sub", "a - b", binary<wrapping<[](auto a, auto b) { return a - b; }>>,
                                                rule_of<Linear::jointly>, binary_content<content_sub>),
                                      [](GradientContext& c) {
                                        if (c.needs(0)) c.dx[0] = c.unbroadcast(c.dy, *c.x(0));
                                        if (c.needs(1)) c.dx[1] = c.unbroadcast(c.neg(c.dy), *c.x(1));
                                      })};
const RegisteredOp mul{with(
    Trait::multiplies, differentiable(binary_op("mul", "a · b", binary<wrapping<[](auto a, auto b) { return a * b; }>>,
                                                rule_of<Linear::in_each_operand>, binary_content<content_mul>),
                                      [](GradientContext& c) {
                                        for (unsigned k : {0u, 1u})
                                          if (c.needs(k)) c.dx[k] = c.unbroadcast(c.mul(c.dy, c.x(1 - k)), *c.x(k));
                                      }))};
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
const RegisteredOp equal{binary_op("equal", "a = b", binary<[](auto a, auto b) { return a == b; }, true>,
                                   rule_of<Linear::none>, binary_content<content_equal>, infer_compare)};
const RegisteredOp less{binary_op("less", "a < b", binary<[](auto a, auto b) { return a < b; }, true>,
                                  rule_of<Linear::none>, binary_content<content_less>, infer_compare)};
const RegisteredOp less_equal{binary_op("less_equal", "a ≤ b", binary<[](auto a, auto b) { return a <= b; }, true>,
                                        rule_of<Linear::none>, binary_content<content_less_equal>, infer_compare)};
const RegisteredOp greater{binary_op("greater", "a > b", binary<[](auto a, auto b) { return b < a; }, true>,
                                     rule_of<Linear::none>, binary_content<content_greater>, infer_compare)};
const RegisteredOp greater_equal{binary_op("greater_equal", "a ≥ b",
                                           binary<[](auto a, auto b) { return a >= b; }, true>, rule_of<Linear::none>,
                                           binary_content<content_greater_equal>, infer_compare)};
const RegisteredOp and_{binary_op("and", "logical and", binary<[](auto a, auto b) { return a != 0 && b != 0; }, true>,
                                  rule_of<Linear::none>, binary_content<content_and>, infer_logical)};
const RegisteredOp or_{binary_op("or", "logical or", binary<[](auto a, auto b) { return a != 0 || b != 0; }, true>,
                                 rule_of<Linear::none>, binary_content<content_or>, infer_logical)};
const RegisteredOp xor_{binary_op("xor", "logical exclusive or",
                                  binary<[](auto a, auto b) { return (a != 0) != (b != 0); }, true>,
                                  rule_of<Linear::none>, nullptr, infer_logical)};

// where(condition, x, y)
const RegisteredOp where{{
    .name = "where",
    .summary = "x where the condition holds, else y",
    .operands = 3,
    .rule = rule_of<Linear::none>,
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      if (node.operand(0).type.dtype != DType::boolean)
        return wrong_dtype(node, 0, "bool", long_name(node.operand(0).type.dtype));
      if (auto e = same_dtype(node, {1, 2})) return e;
      auto dims = broadcast(node, {&node.operand(0), &node.operand(1), &node.operand(2)});
      if (!dims) return dims.takeError();
      return one(node.operand(1).type.dtype, *dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const Ints dims = numbers(node.out().type.dims);
      Array out;
      out.resize(in[1]->is_float, dims);
      walk(dims,
           {broadcast_strides(in[0]->dims, dims), broadcast_strides(in[1]->dims, dims),
            broadcast_strides(in[2]->dims, dims)},
           [&](int64_t k, llvm::ArrayRef<int64_t> at) {
             const int which = in[0]->i[size_t(at[0])] != 0 ? 1 : 2;
             if (out.is_float)
               out.f[size_t(k)] = in[size_t(which)]->f[size_t(at[size_t(which)])];
             else
               out.i[size_t(k)] = in[size_t(which)]->i[size_t(at[size_t(which)])];
           });
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      auto c = content_of(node.operand(0)), x = content_of(node.operand(1)), y = content_of(node.operand(2));
      const Ints dims = numbers(node.out().type.dims);
      if (!c || !x || !y || !is_small(dims)) return std::nullopt;
      Content out;
      out.dims.assign(dims.begin(), dims.end());
      bool known = true;
      walk(dims, {broadcast_strides(c->dims, dims), broadcast_strides(x->dims, dims), broadcast_strides(y->dims, dims)},
           [&](int64_t, llvm::ArrayRef<int64_t> at) {
             auto choice = c->elements[size_t(at[0])].constant();
             if (!choice)
               known = false;
             else
               out.elements.push_back(*choice ? x->elements[size_t(at[1])] : y->elements[size_t(at[2])]);
           });
      if (!known) return std::nullopt;
      return out;
    },
    .gradient =
        [](GradientContext& c) {
          Value* chosen = c.cast(c.x(0), c.dy->type.dtype);
          if (c.needs(1)) c.dx[1] = c.unbroadcast(c.mul(c.dy, chosen), *c.x(1));
          if (c.needs(2)) c.dx[2] = c.unbroadcast(c.mul(c.dy, c.add(c.neg(chosen), 1)), *c.x(2));
        },
}};

// cast to attribute "to" (a DType's number)
const RegisteredOp cast{{
    .name = "cast",
    .summary = "conversion of the element type",
    .rule = [](const Node& node) -> llvm::Expected<Rule> {
      auto rule = elementwise_rule(node);
      if (rule && is_float(node.operand(0).type.dtype) && is_float(node.out().type.dtype))
        rule->linear = Linear::jointly;
      return rule;
    },
    .infer = [](const Node& node) -> llvm::Expected<Types> {
      const DType to = DType(node.integer("to"));
      if (to == DType::string || size_bytes(to) == 0)
        return error(Code::malformed).at(node).what("cast").expected("a numeric type").found(long_name(to));
      if (node.operand(0).type.dtype == DType::string) return wrong_dtype(node, 0, "a number", "string");
      return one(to, node.operand(0).type.dims);
    },
    .evaluate = [](const Node& node, llvm::ArrayRef<const Array*> in) -> llvm::Expected<Arrays> {
      const DType to = DType(node.integer("to"));
      Array out;
      out.resize(is_float(to), in[0]->dims);
      for (int64_t k = 0; k < out.elements(); ++k) {
        const double x = in[0]->number(k);
        if (out.is_float)
          out.f[size_t(k)] = x;
        else if (to == DType::boolean)
          out.i[size_t(k)] = x != 0;
        else if (in[0]->is_float)
          out.i[size_t(k)] = x >= -0x1p63 && x < 0x1p63 ? int64_t(x) : INT64_MIN;
        else
          out.i[size_t(k)] = in[0]->i[size_t(k)];
      }
      return single(std::move(out));
    },
    .content = [](const Node& node) -> std::optional<Content> {
      const DType to = DType(node.integer("to"));
      auto c = content_of(node.operand(0));
      if (!c || is_float(to)) return std::nullopt;
      if (to == DType::boolean && node.operand(0).type.dtype != DType::boolean)
        for (Dim& d : c->elements) {
          auto bound = lower_bound(d);
          if (d.constant())
            d = Dim(int64_t(*d.constant() != 0));
          else if (bound && *bound > 0)
            d = Dim(1);
          else
            return std::nullopt;
        }
      return c;
    },
    .gradient =
        [](GradientContext& c) {
          // Of a half-precision value the gradient stays wide: it is on its way to a float32 master, and small ones
          // would vanish.
          if (is_float(c.x()->type.dtype))
            c.dx[0] = is_half(c.x()->type.dtype) ? c.dy : c.cast(c.dy, c.x()->type.dtype);
        },
    .traits = Trait::converts,
}};
}  // namespace
}  // namespace optp::ops
