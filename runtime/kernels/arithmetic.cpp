// Elementwise arithmetic of two numbers.
#include <cmath>

#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
// Integer arithmetic wraps; done unsigned, so that it is defined.
template <class T>
constexpr bool integer = std::is_integral_v<T>;
struct Add {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (integer<T>)
      return T(uint64_t(a) + uint64_t(b));
    else
      return a + b;
  }
};
struct Sub {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (integer<T>)
      return T(uint64_t(a) - uint64_t(b));
    else
      return a - b;
  }
};
struct Mul {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (integer<T>)
      return T(uint64_t(a) * uint64_t(b));
    else
      return a * b;
  }
};
struct Div {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (integer<T>)
      return b == 0 ? T(0) : b == -1 ? T(-uint64_t(a)) : T(a / b);
    else
      return a / b;
  }
};
struct Max {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    return a != a ? a : (b != b ? b : (a > b ? a : b));
  }
};
struct Min {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    return a != a ? a : (b != b ? b : (a < b ? a : b));
  }
};
// Squares and square roots are what exports use pow for.
struct Pow {
  static constexpr bool vector = false;
  template <class T>
  static T of(T a, T b) {
    if constexpr (std::is_same_v<T, double>)  // an optimizer's powers of its betas: to the last bit as evaluate says
      return std::pow(a, b);
    else
      return b == T(2) ? a * a : b == T(3) ? a * a * a : T(std::pow(double(a), double(b)));
  }
};

template <class F>
llvm::Expected<Kernel> binary(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return rows_kernel(work, context, binary_row<F, float, float>);
    case DType::f64:
      return rows_kernel(work, context, binary_row<F, double, double>);
    case DType::f16:
      return rows_kernel(work, context, half_row<F16, binary_row<F, float, float>, 2, false>);
    case DType::bf16:
      return rows_kernel(work, context, half_row<Bf16, binary_row<F, float, float>, 2, false>);
    case DType::i32:
      return rows_kernel(work, context, binary_row<F, int32_t, int32_t>);
    case DType::i64:
      return rows_kernel(work, context, binary_row<F, int64_t, int64_t>);
    default:
      return Kernel{};
  }
}
llvm::Expected<Kernel> power(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return rows_kernel(work, context, binary_row<Pow, float, float>);
    case DType::f64:
      return rows_kernel(work, context, binary_row<Pow, double, double>);
    case DType::f16:
      return rows_kernel(work, context, half_row<F16, binary_row<Pow, float, float>, 2, false>);
    case DType::bf16:
      return rows_kernel(work, context, half_row<Bf16, binary_row<Pow, float, float>, 2, false>);
    default:
      return Kernel{};
  }
}

std::optional<int64_t> times_one(const Node& node) {
  if (node.out().type != node.operand(0).type) return std::nullopt;
  if (auto factor = scalar_constant(node.operand(1)); !factor || *factor != 1) return std::nullopt;
  return 0;
}

const RegisteredView views[] = {RegisteredView{{"mul", times_one}}};
const RegisteredKernel kernels[] = {
    RegisteredKernel{{"add", {}, binary<Add>, Fusion::is_add}},
    RegisteredKernel{{"sub", {}, binary<Sub>, Fusion::is_subtract}},
    RegisteredKernel{{"mul", {}, binary<Mul>, Fusion::is_multiply}},
    RegisteredKernel{{"div", {}, binary<Div>, Fusion::is_divide}},
    RegisteredKernel{{"max", {}, binary<Max>, Fusion::is_steady}},
    RegisteredKernel{{"min", {}, binary<Min>, Fusion::is_steady}},
    RegisteredKernel{{"pow", {}, power}},
};
}  // namespace
}  // namespace optp::kernels
