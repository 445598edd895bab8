// Range, of integers and of floats: start + k · step, with bounds that may be extents.
#include <cmath>
#include <numeric>

#include "frontend/onnx/operators/steps.h"

namespace optp {
namespace {
using Values = llvm::SmallVector<Value*, 2>;

// How many steps lead from a to before b: ⌈(b - a) / step⌉, at least 0.
Dim steps_between(Dim a, Dim b, Dim step) {
  const Dim span = b - a;
  Dim size = step.is(1) ? span : (step.is(-1) ? Dim(-1) * span : Dim(-1) * floor_div(Dim(-1) * span, step));
  return proved_less_equal(0, size) ? size : maximum(size, 0);
}
// A floating scalar that is known as an extent over a number: a constant, or what was computed from extents.
struct Fraction {
  Dim numerator;
  int64_t denominator = 1;  // above 0
};
std::optional<Fraction> fraction_of(double x) {
  for (int64_t denominator = 1; denominator <= int64_t(1) << 30; denominator *= 2) {
    const double scaled = x * double(denominator);
    if (std::abs(scaled) < 0x1p52 && scaled == std::floor(scaled)) return Fraction{Dim(int64_t(scaled)), denominator};
  }
  return std::nullopt;
}
std::optional<Fraction> known_fraction(const Value& v, int depth = 0) {
  if (v.data && !v.data->is_missing() && v.data->elements() == 1 && v.type.dtype != DType::string)
    return fraction_of(to_array(*v.data).number(0));
  if (auto content = content_of(v)) {
    if (content->elements.size() != 1) return std::nullopt;
    return Fraction{content->elements[0]};
  }
  constexpr int most_depth = 32;
  if (!v.producer || depth > most_depth || v.producer->operands.empty()) return std::nullopt;
  const Node& node = *v.producer;
  const auto a = known_fraction(node.operand(0), depth + 1);
  if (!a) return std::nullopt;
  const bool is_whole = a->denominator == 1;
  if (node.op->is(Trait::converts))
    return is_float(v.type.dtype) || is_whole ? a : std::nullopt;  // else it is rounded to zero
  if (node.op->is(Trait::reshapes)) return a;
  const Dim minus = Dim(-1) * a->numerator;
  if (node.op->is(Trait::negates)) return Fraction{minus, a->denominator};
  if (node.op->is(Trait::rounds_up)) return Fraction{Dim(-1) * floor_div(minus, a->denominator)};
  if (node.op->is(Trait::rounds_down)) return Fraction{floor_div(a->numerator, a->denominator)};
  if (node.operands.size() != 2) return std::nullopt;
  const auto b = known_fraction(node.operand(1), depth + 1);
  if (!b) return std::nullopt;
  constexpr int64_t most = int64_t(1) << 40;
  if (a->denominator > most / b->denominator) return std::nullopt;
  if (node.op->is(Trait::multiplies)) return Fraction{a->numerator * b->numerator, a->denominator * b->denominator};
  const int64_t sign = node.op->is(Trait::adds) ? 1 : node.op->is(Trait::subtracts) ? -1 : 0;
  if (sign != 0)
    return Fraction{a->numerator * Dim(b->denominator) + Dim(sign) * b->numerator * Dim(a->denominator),
                    a->denominator * b->denominator};
  const auto divisor = b->numerator.constant();
  if (node.op->is(Trait::divides) && divisor && *divisor > 0 && *divisor < most / a->denominator &&
      is_float(v.type.dtype))
    return Fraction{a->numerator * Dim(b->denominator), a->denominator * *divisor};
  return std::nullopt;
}
// Of three constants: made here.
Lowered constant_range(LoweringContext& c, DType dtype) {
  double bound[3];
  for (size_t k = 0; k < 3; ++k) bound[k] = to_array(*c.operands[k]->data).number(0);
  const auto [a, b, step] = std::tuple(bound[0], bound[1], bound[2]);
  const double n = std::ceil((b - a) / step);
  constexpr double most = 1 << 22;
  if (!(n <= most))
    return c.fail(Code::too_large)
        .what("a range from " + std::to_string(a) + " to " + std::to_string(b) + " in steps of " + std::to_string(step))
        .expected("at most 2^22 elements");
  Array out;
  out.resize(/*floating=*/true, {int64_t(std::max(0.0, n))});
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = a + double(k) * step;
  return Values{&c.build.constant(dtype, out.dims, out)};
}
// start + k · step. Where both are whole numbers they are counted as such and converted once.
Lowered float_range(LoweringContext& c, DType dtype) {
  bool constant = true;
  for (size_t k = 0; k < 3; ++k) {
    OPTP_TRY(v, c.need(k));
    constant &= v->data && !v->data->is_missing() && v->data->elements() == 1;
  }
  if (constant) return constant_range(c, dtype);
  Fraction bound[3];
  const char* what[] = {"the start", "the limit", "the step"};
  for (size_t k = 0; k < 3; ++k) {
    OPTP_TRY(v, c.need(k));
    auto known = known_fraction(*v);
    if (!known) return c.not_known(k, what[k]);
    bound[k] = *known;
  }
  int64_t denominator = 1;
  constexpr int64_t most_denominator = int64_t(1) << 40;
  for (size_t k = 0; k < 3; ++k) {
    denominator = std::lcm(denominator, bound[k].denominator);
    if (denominator > most_denominator) return c.not_known(k, what[k]);
  }
  for (Fraction& b : bound) b.numerator = b.numerator * Dim(denominator / b.denominator);
  const auto [start, limit, step] = std::tuple(bound[0].numerator, bound[1].numerator, bound[2].numerator);
  if (step.is(0)) return c.fail(Code::malformed, "step 0");
  const Dim size = steps_between(start, limit, step);
  constexpr int64_t most = int64_t(1) << 40;
  if (size.is_overflow() || size.constant().value_or(0) > most)
    return c.fail(Code::too_large).what("a range of " + size.text() + " elements");
  Formula f(c.build);
  if (denominator == 1) return made_by(f, {f.cast(iota(f, start, size, step), dtype)});
  auto divided = [&](Dim numerator) {
    Value* by = f.scalar(dtype, double(denominator));
    return f.div(f.extent(numerator, dtype), by);
  };
  Value *width = divided(step), *steps = f.mul(f.cast(iota(f, 0, size), dtype), width);
  return made_by(f, {f.add(steps, divided(start))});
}
Lowered range(LoweringContext& c) {
  OPTP_TRY(first, c.need(0));
  for (size_t k = 1; k < 3; ++k) {
    OPTP_TRY(other, c.need(k));
    if (other->type.dtype != first->type.dtype)
      return c.fail(Code::dtype_mismatch)
          .operand(k, other->name)
          .what("dtype")
          .expected(long_name(first->type.dtype) + " as operand 0")
          .found(long_name(other->type.dtype));
  }
  if (is_float(first->type.dtype)) return float_range(c, first->type.dtype);
  Dim bound[3];
  const char* what[] = {"the start", "the limit", "the step"};
  for (size_t k = 0; k < 3; ++k) {
    OPTP_TRY(d, c.known_dims(k, what[k]));
    if (d.size() != 1) return c.fail(Code::malformed).what(llvm::Twine(what[k])).expected("one number");
    bound[k] = d[0];
  }
  if (bound[2].is(0)) return c.fail(Code::malformed, "step 0");
  OPTP_TRY(y, iota(c, bound[0], steps_between(bound[0], bound[1], bound[2]), bound[2], first->type.dtype));
  return Values{y};
}
const LoweringRow rows[] = {{"Range", 11, range}};
const RegisteredLowerings registered{rows};
}  // namespace
}  // namespace optp
