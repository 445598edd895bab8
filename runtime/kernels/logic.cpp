// Elementwise tests, and what is computed with truth values.
#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
struct Equal {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T a, T b) {
    return a == b;
  }
};
struct Less {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T a, T b) {
    return a <= b;
  }
};
struct Greater {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T a, T b) {
    return a > b;
  }
};
struct GreaterEqual {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T a, T b) {
    return a >= b;
  }
};
struct And {
  static constexpr bool vector = false;
  template <class T>
  static bool of(T a, T b) {
    return a != 0 && b != 0;
  }
};
struct Or {
  static constexpr bool vector = false;
  template <class T>
  static bool of(T a, T b) {
    return a != 0 || b != 0;
  }
};
struct Xor {
  static constexpr bool vector = false;
  template <class T>
  static bool of(T a, T b) {
    return (a != 0) != (b != 0);
  }
};
struct Not {
  static constexpr bool vector = false;
  template <class T>
  static bool of(T x) {
    return x == 0;
  }
};

struct IsNan {
  static constexpr bool vector = true;
  template <class T>
  OPTP_INLINE static bool of(T x) {
    return x != x;
  }
};

template <class F>
llvm::Expected<Kernel> compare(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return rows_kernel(work, context, binary_row<F, float, uint8_t>);
    case DType::f64:
      return rows_kernel(work, context, binary_row<F, double, uint8_t>);
    case DType::f16:
      return rows_kernel(work, context, half_row<F16, binary_row<F, float, uint8_t>, 2, true>);
    case DType::bf16:
      return rows_kernel(work, context, half_row<Bf16, binary_row<F, float, uint8_t>, 2, true>);
    case DType::i32:
      return rows_kernel(work, context, binary_row<F, int32_t, uint8_t>);
    case DType::i64:
      return rows_kernel(work, context, binary_row<F, int64_t, uint8_t>);
    case DType::boolean:
      return rows_kernel(work, context, binary_row<F, uint8_t, uint8_t>);
    default:
      return Kernel{};
  }
}
template <class F>
llvm::Expected<Kernel> logical(const Work& work, const KernelContext& context) {
  return rows_kernel(work, context, binary_row<F, uint8_t, uint8_t>);
}
llvm::Expected<Kernel> logical_not(const Work& work, const KernelContext& context) {
  if (work.results[0].dtype != DType::boolean) return Kernel{};
  return rows_kernel(work, context, unary_row<Not, uint8_t, uint8_t>);
}
llvm::Expected<Kernel> is_nan(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return rows_kernel(work, context, unary_row<IsNan, float, uint8_t>);
    case DType::f64:
      return rows_kernel(work, context, unary_row<IsNan, double, uint8_t>);
    case DType::f16:
      return rows_kernel(work, context, half_row<F16, unary_row<IsNan, float, uint8_t>, 1, true>);
    case DType::bf16:
      return rows_kernel(work, context, half_row<Bf16, unary_row<IsNan, float, uint8_t>, 1, true>);
    default:
      return Kernel{};
  }
}

const RegisteredKernel kernels[] = {
    RegisteredKernel{{"not", {DType::boolean}, logical_not}},
    RegisteredKernel{{"is_nan", {}, is_nan}},
    RegisteredKernel{{"equal", {}, compare<Equal>}},
    RegisteredKernel{{"less", {}, compare<Less>}},
    RegisteredKernel{{"less_equal", {}, compare<LessEqual>}},
    RegisteredKernel{{"greater", {}, compare<Greater>}},
    RegisteredKernel{{"greater_equal", {}, compare<GreaterEqual>}},
    RegisteredKernel{{"and", {DType::boolean}, logical<And>}},
    RegisteredKernel{{"or", {DType::boolean}, logical<Or>}},
    RegisteredKernel{{"xor", {DType::boolean}, logical<Xor>}},
};
}  // namespace
}  // namespace optp::kernels
