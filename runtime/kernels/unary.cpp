// Elementwise functions of one number.
#include <cmath>

#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
struct Neg {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T x) {
    if constexpr (std::is_integral_v<T>)
      return T(-uint64_t(x));
    else
      return -x;
  }
};
struct Abs {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T x) {
    if constexpr (std::is_integral_v<T>)
      return x < 0 ? T(-uint64_t(x)) : x;
    else
      return std::fabs(x);
  }
};
struct Exp {
  static constexpr bool vector = true;
  OPTP_INLINE static float of(float x) { return exp_of(x); }
  static double of(double x) { return std::exp(x); }
};
struct Log {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::log(x);
  }
};
struct Sqrt {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::sqrt(x);
  }
};
struct Reciprocal {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T x) {
    return 1 / x;
  }
};
struct Tanh {
  static constexpr bool vector = true;
  OPTP_INLINE static float of(float x) { return tanh_of(x); }
  static double of(double x) { return std::tanh(x); }
};
struct Sigmoid {
  static constexpr bool vector = true;
  OPTP_INLINE static float of(float x) { return 1.0f / (1.0f + exp_of(-x)); }
  static double of(double x) { return 1 / (1 + std::exp(-x)); }
};
struct Erf {
  static constexpr bool vector = true;
  OPTP_INLINE static float of(float x) { return erf_of(x); }
  static double of(double x) { return std::erf(x); }
};
struct Sin {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::sin(x);
  }
};
struct Cos {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::cos(x);
  }
};
struct Floor {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::floor(x);
  }
};
struct Ceil {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::ceil(x);
  }
};
struct Round {
  static constexpr bool vector = false;
  template <class T>
  static T of(T x) {
    return std::nearbyint(x);
  }
};
struct Relu {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static T of(T x) {
    return x < 0 ? T(0) : x;
  }
};

template <class F>
llvm::Expected<Kernel> unary_float(const Work& work, const KernelContext& context) {
  Row row = nullptr;
  switch (work.operands[0].dtype) {
    case DType::f32:
      row = unary_row<F, float, float>;
      break;
    case DType::f64:
      row = unary_row<F, double, double>;
      break;
    case DType::f16:
      row = half_row<F16, unary_row<F, float, float>, 1, false>;
      break;
    case DType::bf16:
      row = half_row<Bf16, unary_row<F, float, float>, 1, false>;
      break;
    default:
      return Kernel{};
  }
  return rows_kernel(work, context, row);
}
template <class F>
llvm::Expected<Kernel> unary_any(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::i32:
      return rows_kernel(work, context, unary_row<F, int32_t, int32_t>);
    case DType::i64:
      return rows_kernel(work, context, unary_row<F, int64_t, int64_t>);
    default:
      return unary_float<F>(work, context);
  }
}

const RegisteredKernel kernels[] = {
    RegisteredKernel{{"neg", {}, unary_any<Neg>, Fusion::is_steady}},
    RegisteredKernel{{"abs", {}, unary_any<Abs>}},
    RegisteredKernel{{"relu", {}, unary_any<Relu>, Fusion::is_relu}},
    RegisteredKernel{{"exp", {}, unary_float<Exp>}},
    RegisteredKernel{{"log", {}, unary_float<Log>}},
    RegisteredKernel{{"sqrt", {}, unary_float<Sqrt>}},
    RegisteredKernel{{"reciprocal", {}, unary_float<Reciprocal>}},
    RegisteredKernel{{"tanh", {}, unary_float<Tanh>, Fusion::is_steady}},
    RegisteredKernel{{"sigmoid", {}, unary_float<Sigmoid>}},
    RegisteredKernel{{"erf", {}, unary_float<Erf>}},
    RegisteredKernel{{"sin", {}, unary_float<Sin>}},
    RegisteredKernel{{"cos", {}, unary_float<Cos>}},
    RegisteredKernel{{"floor", {}, unary_float<Floor>}},
    RegisteredKernel{{"ceil", {}, unary_float<Ceil>}},
    RegisteredKernel{{"round", {}, unary_float<Round>}},
};
}  // namespace
}  // namespace optp::kernels
