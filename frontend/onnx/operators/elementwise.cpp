// ONNX operators that act on single elements.
#include <limits>

#include "frontend/onnx/lowering.h"
#include "frontend/onnx/source_names.h"

namespace optp {
namespace {

Lowered same(LoweringContext& c, llvm::StringRef op) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(y, c.op(op, {x}));
  return llvm::SmallVector<Value*, 2>{y};
}
template <const char* name>
Lowered unary(LoweringContext& c) {
  return same(c, name);
}

Lowered two(LoweringContext& c, llvm::StringRef op) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  OPTP_TRY(y, c.op(op, {a, b}));
  return llvm::SmallVector<Value*, 2>{y};
}
template <const char* name>
Lowered binary(LoweringContext& c) {
  return two(c, name);
}

// Division of integers truncates, as floor division does where nothing is negative. Of an extent less a window, whose
// sign depends on the sizes of a run, that is demanded: an extent below 0 would be none.
Lowered divide(LoweringContext& c) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  const auto number = content_of(*a), divisor = content_of(*b);
  if (number && divisor && number->elements.size() == 1 && divisor->elements.size() == 1) {
    const Dim n = number->elements[0], k = divisor->elements[0];
    const bool is_open = !known_less_equal(0, n) && !known_less_equal(n, 0) && !exact_div(n, k);
    if (is_open && proved_less(0, k)) return c.must_equal(minimum(n, 0), 0, "division of an extent");
  }
  return two(c, "div");
}

// Max, Min, Sum: any number of operands.
Lowered fold(LoweringContext& c, llvm::StringRef op) {
  OPTP_TRY(first, c.need(0));
  Value* y = first;
  for (size_t k = 1; k < c.operands.size(); ++k) {
    OPTP_TRY(next, c.need(k));
    OPTP_TRY(z, c.op(op, {y, next}));
    y = z;
  }
  return llvm::SmallVector<Value*, 2>{y};
}
template <const char* name>
Lowered variadic(LoweringContext& c) {
  return fold(c, name);
}

Lowered identity(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  // Exporters merge equal initializers and give the others their names back by Identity: a parameter of its own.
  if (x->data && !x->is_literal && is_float(x->type.dtype)) {
    Value& own = c.build.graph().add_data(c.output_name(0), x->data);
    own.is_anonymous = is_generated_name(own.name);
    return llvm::SmallVector<Value*, 2>{&own};
  }
  return llvm::SmallVector<Value*, 2>{x};
}
Lowered dropout(LoweringContext& c) {  // inference: the identity, whatever the ratio
  OPTP_TRY(x, c.need(0));
  c.has(1);
  if (c.has(2)) {
    auto training = content_of(*c.operands[2]);
    if (!training || !llvm::all_of(training->elements, [](Dim d) { return d.is(0); }))
      return c.fail(Code::malformed)
          .operand(2, c.operands[2]->name)
          .what("training mode")
          .expected("false")
          .hint("export with model.eval()");
  }
  llvm::SmallVector<Value*, 2> out{x};
  if (c.output_count() > 1) {
    OPTP_TRY(mask, c.expand(c.build.scalar(DType::boolean, 1), x->type.dims));
    out.push_back(mask);
  }
  return out;
}
Lowered cast(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  const int64_t to = c.integer("to", 0);
  if (to <= 0 || to > 255 || size_bytes(DType(to)) == 0)
    return c.fail(Code::malformed).what("to").expected("a numeric type").found("ONNX type " + llvm::Twine(to));
  OPTP_TRY(y, c.cast(*x, DType(to)));
  return llvm::SmallVector<Value*, 2>{y};
}
Lowered cast_like(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  OPTP_TRY(like, c.need(1));
  OPTP_TRY(y, c.cast(*x, like->type.dtype));
  return llvm::SmallVector<Value*, 2>{y};
}
Lowered pow(LoweringContext& c) {  // since opset 12 the exponent may have another type
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  if (b->type.dtype == DType::string) return two(c, "pow");
  OPTP_TRY(e, c.cast(*b, a->type.dtype));
  OPTP_TRY(y, c.op("pow", {a, e}));
  return llvm::SmallVector<Value*, 2>{y};
}
Lowered where(LoweringContext& c) {
  OPTP_TRY(condition, c.need(0));
  OPTP_TRY(x, c.need(1));
  OPTP_TRY(y, c.need(2));
  OPTP_TRY(z, c.op("where", {condition, x, y}));
  return llvm::SmallVector<Value*, 2>{z};
}
Lowered clip(LoweringContext& c) {
  OPTP_TRY(x, c.need(0));
  Value* y = x;
  if (c.has(1)) {
    OPTP_TRY(z, c.op("max", {y, c.operands[1]}));
    y = z;
  }
  if (c.has(2)) {
    OPTP_TRY(z, c.op("min", {y, c.operands[2]}));
    y = z;
  }
  return llvm::SmallVector<Value*, 2>{y};
}
// The quotient is rounded down, or with fmod=1 to zero; since opset 28 of any numbers. Our op rounds that of integers
// down and that of floats to zero.
Lowered mod(LoweringContext& c) {
  OPTP_TRY(a, c.need(0));
  OPTP_TRY(b, c.need(1));
  const DType dtype = a->type.dtype;
  const bool to_zero = c.integer("fmod", 0) != 0;
  const bool is_signed = dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32 || dtype == DType::i64;
  if (to_zero && is_signed) {
    OPTP_TRY(sign, c.op("sign", {a}));
    OPTP_TRY(x, c.op("abs", {a}));
    OPTP_TRY(y, c.op("abs", {b}));
    OPTP_TRY(r, c.op("mod", {x, y}));
    OPTP_TRY(z, c.op("mul", {sign, r}));
    return llvm::SmallVector<Value*, 2>{z};
  }
  if (to_zero || !is_float(dtype) || c.opset < 28) return two(c, "mod");
  OPTP_TRY(r, c.op("mod", {a, b}));
  OPTP_TRY(r_below, c.op("less", {r, &c.scalar_like(*r, 0)}));
  OPTP_TRY(b_below, c.op("less", {b, &c.scalar_like(*b, 0)}));
  OPTP_TRY(differ, c.op("xor", {r_below, b_below}));
  OPTP_TRY(is_zero, c.op("equal", {r, &c.scalar_like(*r, 0)}));
  OPTP_TRY(is_rest, c.op("not", {is_zero}));
  OPTP_TRY(wrong_side, c.op("and", {differ, is_rest}));
  OPTP_TRY(moved, c.op("add", {r, b}));
  OPTP_TRY(y, c.op("where", {wrong_side, moved, r}));
  return llvm::SmallVector<Value*, 2>{y};
}
// Infinities of either sign, of one, or of none: constant false.
Lowered is_inf(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  const bool below = c.integer("detect_negative", 1) != 0, above = c.integer("detect_positive", 1) != 0;
  if (below && above) return same(c, "is_inf");
  const double infinity = std::numeric_limits<double>::infinity();
  OPTP_TRY(y, below || above ? c.op("equal", {x, &c.scalar_like(*x, above ? infinity : -infinity)})
                             : c.expand(c.build.scalar(DType::boolean, 0), x->type.dims));
  return llvm::SmallVector<Value*, 2>{y};
}
Lowered leaky_relu(LoweringContext& c) {
  OPTP_TRY(x, c.need_float(0));
  OPTP_TRY(scaled, c.op("mul", {x, &c.scalar_like(*x, c.number("alpha", 0.01))}));
  OPTP_TRY(negative, c.op("less", {x, &c.scalar_like(*x, 0)}));
  OPTP_TRY(y, c.op("where", {negative, scaled, x}));
  return llvm::SmallVector<Value*, 2>{y};
}
Lowered mean(LoweringContext& c) {
  OPTP_TRY(first, c.need_float(0));
  (void)first;
  OPTP_TRY(sum, fold(c, "add"));
  OPTP_TRY(y, c.op("div", {sum[0], &c.scalar_like(*sum[0], double(c.operands.size()))}));
  return llvm::SmallVector<Value*, 2>{y};
}

#define NAME(id) constexpr char n_##id[] = #id
NAME(neg);
NAME(abs);
NAME(exp);
NAME(log);
NAME(sqrt);
NAME(reciprocal);
NAME(tanh);
NAME(sigmoid);
NAME(erf);
NAME(sin);
NAME(cos);
NAME(floor);
NAME(ceil);
NAME(round);
NAME(relu);
NAME(sign);
NAME(is_nan);
NAME(not);
NAME(add);
NAME(sub);
NAME(mul);
NAME(max);
NAME(min);
NAME(equal);
NAME(less);
NAME(less_equal);
NAME(greater);
NAME(greater_equal);
NAME(and);
NAME(or);
NAME(xor);
#undef NAME

const LoweringRow rows[] = {
    {"Neg", 6, unary<n_neg>},
    {"Abs", 6, unary<n_abs>},
    {"Exp", 6, unary<n_exp>},
    {"Log", 6, unary<n_log>},
    {"Sqrt", 6, unary<n_sqrt>},
    {"Reciprocal", 6, unary<n_reciprocal>},
    {"Tanh", 6, unary<n_tanh>},
    {"Sigmoid", 6, unary<n_sigmoid>},
    {"Erf", 9, unary<n_erf>},
    {"Sin", 7, unary<n_sin>},
    {"Cos", 7, unary<n_cos>},
    {"Floor", 6, unary<n_floor>},
    {"Ceil", 6, unary<n_ceil>},
    {"Round", 11, unary<n_round>},
    {"Relu", 6, unary<n_relu>},
    {"Sign", 9, unary<n_sign>},
    {"IsNaN", 9, unary<n_is_nan>},
    {"IsInf", 10, is_inf},
    {"Not", 1, unary<n_not>},
    {"Add", 7, binary<n_add>},
    {"Sub", 7, binary<n_sub>},
    {"Mul", 7, binary<n_mul>},
    {"Div", 7, divide},
    {"Mod", 10, mod},
    {"Equal", 7, binary<n_equal>},
    {"Less", 7, binary<n_less>},
    {"LessOrEqual", 12, binary<n_less_equal>},
    {"Greater", 7, binary<n_greater>},
    {"GreaterOrEqual", 12, binary<n_greater_equal>},
    {"And", 7, binary<n_and>},
    {"Or", 7, binary<n_or>},
    {"Xor", 7, binary<n_xor>},
    {"Max", 8, variadic<n_max>},
    {"Min", 8, variadic<n_min>},
    {"Sum", 8, variadic<n_add>},
    {"Mean", 8, mean},
    {"Pow", 7, pow},
    {"Where", 9, where},
    {"Cast", 6, cast},
    {"CastLike", 15, cast_like},
    {"Clip", 11, clip},
    {"Identity", 1, identity},
    {"Dropout", 7, dropout},
    {"LeakyRelu", 6, leaky_relu},
};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
