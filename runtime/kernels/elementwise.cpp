// Elementwise ops: rows of collapsed broadcast dims, each operand stepping by 0 or 1 along a row. f32 loops vectorise;
// half precision is widened a block at a time.
#include <cmath>

#include "frontend/ir/half.h"
#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"
#include "runtime/kernels/vector.h"

namespace optp::kernels {
namespace {
constexpr int64_t grain_elements = 1 << 14;

// A row: n results, operands stepping by 0 or 1.
using Row = void (*)(int64_t n, const void* const* in, const int64_t* step, void* out);

template <class F, class In, class Out>
void unary_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In* a = static_cast<const In*>(in[0]);
  Out* y = static_cast<Out*>(out);
  auto loop = [=]() OPTP_LAMBDA {
    for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k]));
  };
  if (step[0] == 0 && n > 1) {
    std::fill(y, y + n, Out(F::of(a[0])));
    return;
  }
  if constexpr (F::vector && std::is_same_v<In, float>)
    vectorised(loop);
  else
    loop();
}
template <class F, class In, class Out>
void binary_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In *a = static_cast<const In*>(in[0]), *b = static_cast<const In*>(in[1]);
  Out* y = static_cast<Out*>(out);
  auto run = [](const auto& loop) {
    if constexpr (F::vector && std::is_same_v<In, float>)
      vectorised(loop);
    else
      loop();
  };
  if (step[0] == 1 && step[1] == 1)
    run([=]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k], b[k]));
    });
  else if (step[0] == 1)
    run([=, v = *b]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(a[k], v));
    });
  else if (step[1] == 1)
    run([=, v = *a]() OPTP_LAMBDA {
      for (int64_t k = 0; k < n; ++k) y[k] = Out(F::of(v, b[k]));
    });
  else
    std::fill(y, y + n, Out(F::of(*a, *b)));
}
template <class T>
void where_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const uint8_t* c = static_cast<const uint8_t*>(in[0]);
  const T *a = static_cast<const T*>(in[1]), *b = static_cast<const T*>(in[2]);
  T* y = static_cast<T*>(out);
  if (step[0] == 1 && step[1] == 0 && step[2] == 0) {
    const T u = *a, v = *b;
    for (int64_t k = 0; k < n; ++k) y[k] = c[k] ? u : v;
  } else if (step[0] == 0) {
    const T* from = *c ? a : b;
    if (step[*c ? 1 : 2] == 1)
      std::memcpy(y, from, size_t(n) * sizeof(T));
    else
      std::fill(y, y + n, *from);
  } else {
    const int64_t s = step[1], t = step[2];
    for (int64_t k = 0; k < n; ++k) y[k] = c[k] ? a[k * s] : b[k * t];
  }
}

// Widens and narrows half-precision operands in blocks; `wide` sees f32.
template <class Half, Row wide, int operands, bool to_bool>
void half_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  constexpr int64_t block = 512;
  float wide_in[operands][block], wide_out[block];
  for (int64_t at = 0; at < n; at += block) {
    const int64_t count = std::min(block, n - at);
    const void* ins[operands];
    for (int o = 0; o < operands; ++o) {
      const uint16_t* from = static_cast<const uint16_t*>(in[o]) + at * step[o];
      const int64_t some = step[o] ? count : 1;
      float* to = wide_in[o];
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t k = 0; k < some; ++k) to[k] = Half::load(from[k]);
      });
      ins[o] = to;
    }
    if constexpr (to_bool) {
      wide(count, ins, step, static_cast<uint8_t*>(out) + at);
    } else {
      wide(count, ins, step, wide_out);
      uint16_t* to = static_cast<uint16_t*>(out) + at;
      const float* from = wide_out;
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t k = 0; k < count; ++k) to[k] = Half::store(from[k]);
      });
    }
  }
}

// The ops. `vector`: written so that it vectorises.
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
struct Not {
  static constexpr bool vector = false;
  template <class T>
  static bool of(T x) {
    return x == 0;
  }
};

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
    return b == T(2) ? a * a : b == T(3) ? a * a * a : T(std::pow(double(a), double(b)));
  }
};
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

Kernel rows_kernel(const Work& work, const KernelContext& context, Row row) {
  Loops loops;
  const TensorSpec& y = work.results[0];
  loops.dims = y.dims;
  loops.strides.push_back(strides_of(y.dims));
  for (const TensorSpec& s : work.operands) loops.strides.push_back(broadcast_strides(s.dims, y.dims));
  loops.collapse();
  Kernel kernel;
  for (size_t k = 0; k < work.operands.size(); ++k)
    if (work.operands[k].dims == y.dims && size_bytes(work.operands[k].dtype) == size_bytes(y.dtype))
      kernel.in_place |= 1u << k;
  llvm::SmallVector<int64_t, 4> element;
  for (const TensorSpec& s : work.operands) element.push_back(size_bytes(s.dtype));
  kernel.run = [loops, row, element, out_element = size_bytes(y.dtype),
                threads = context.threads](const KernelCall& call) {
    const int64_t rows = loops.row_count(), n = loops.row_length();
    if (rows == 0 || n == 0) return llvm::Error::success();
    int64_t step[4];
    for (size_t o = 0; o < element.size(); ++o) step[o] = loops.row_stride(o + 1);
    auto one = [&](llvm::ArrayRef<int64_t> at, int64_t begin, int64_t end) {
      const void* in[4];
      for (size_t o = 0; o < element.size(); ++o)
        in[o] = static_cast<const char*>(call.in[o]) + (at[o + 1] + begin * step[o]) * element[o];
      row(end - begin, in, step, static_cast<char*>(call.out[0]) + (at[0] + begin) * out_element);
    };
    if (rows == 1) {
      const Ints zero(loops.strides.size(), 0);
      parallel_for(threads, n, grain_elements, [&](int64_t b, int64_t e) { one(zero, b, e); });
    } else {
      parallel_for(threads, rows, std::max<int64_t>(1, grain_elements / n),
                   [&](int64_t b, int64_t e) { loops.rows(b, e, [&](llvm::ArrayRef<int64_t> at) { one(at, 0, n); }); });
    }
    return llvm::Error::success();
  };
  return kernel;
}

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
llvm::Expected<Kernel> logical_not(const Work& work, const KernelContext& context) {
  if (work.results[0].dtype != DType::boolean) return Kernel{};
  return rows_kernel(work, context, unary_row<Not, uint8_t, uint8_t>);
}
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
    case DType::f16:
      return rows_kernel(work, context, half_row<F16, binary_row<Pow, float, float>, 2, false>);
    case DType::bf16:
      return rows_kernel(work, context, half_row<Bf16, binary_row<Pow, float, float>, 2, false>);
    default:
      return Kernel{};
  }
}
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
llvm::Expected<Kernel> compile_where(const Work& work, const KernelContext& context) {
  switch (size_bytes(work.results[0].dtype)) {
    case 1:
      return rows_kernel(work, context, where_row<uint8_t>);
    case 2:
      return rows_kernel(work, context, where_row<uint16_t>);
    case 4:
      return rows_kernel(work, context, where_row<uint32_t>);
    case 8:
      return rows_kernel(work, context, where_row<uint64_t>);
    default:
      return Kernel{};
  }
}

// cast
template <class Out, class In>
void cast_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In* a = static_cast<const In*>(in[0]);
  Out* y = static_cast<Out*>(out);
  const int64_t s = step[0];
  for (int64_t k = 0; k < n; ++k) {
    const In x = a[k * s];
    if constexpr (std::is_floating_point_v<In> && std::is_integral_v<Out>) {
      // What is out of range is any value, as in evaluate.
      y[k] = double(x) >= -0x1p63 && double(x) < 0x1p63 ? Out(int64_t(x)) : Out(std::numeric_limits<int64_t>::min());
    } else {
      y[k] = Out(x);
    }
  }
}
template <class In>
void test_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const In* a = static_cast<const In*>(in[0]);
  for (int64_t k = 0; k < n; ++k) static_cast<uint8_t*>(out)[k] = a[k * step[0]] != 0;
}
template <class Half>
void widen_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const uint16_t* a = static_cast<const uint16_t*>(in[0]);
  float* y = static_cast<float*>(out);
  const int64_t s = step[0];
  vectorised([=]() OPTP_LAMBDA {
    for (int64_t k = 0; k < n; ++k) y[k] = Half::load(a[k * s]);
  });
}
template <class Half>
void narrow_row(int64_t n, const void* const* in, const int64_t* step, void* out) {
  const float* a = static_cast<const float*>(in[0]);
  uint16_t* y = static_cast<uint16_t*>(out);
  const int64_t s = step[0];
  vectorised([=]() OPTP_LAMBDA {
    for (int64_t k = 0; k < n; ++k) y[k] = Half::store(a[k * s]);
  });
}
template <class In>
Row cast_from(DType to) {
  switch (to) {
    case DType::f32:
      return cast_row<float, In>;
    case DType::f64:
      return cast_row<double, In>;
    case DType::i32:
      return cast_row<int32_t, In>;
    case DType::i64:
      return cast_row<int64_t, In>;
    case DType::boolean:
      return test_row<In>;
    case DType::f16:
      return std::is_same_v<In, float> ? narrow_row<F16> : nullptr;
    case DType::bf16:
      return std::is_same_v<In, float> ? narrow_row<Bf16> : nullptr;
    default:
      return nullptr;
  }
}
llvm::Expected<Kernel> cast(const Work& work, const KernelContext& context) {
  const DType to = work.results[0].dtype;
  Row row = nullptr;
  switch (work.operands[0].dtype) {
    case DType::f32:
      row = cast_from<float>(to);
      break;
    case DType::f64:
      row = cast_from<double>(to);
      break;
    case DType::i32:
      row = cast_from<int32_t>(to);
      break;
    case DType::i64:
      row = cast_from<int64_t>(to);
      break;
    case DType::boolean:
      row = cast_from<uint8_t>(to);
      break;
    case DType::f16:
      row = to == DType::f32 ? widen_row<F16> : nullptr;
      break;
    case DType::bf16:
      row = to == DType::f32 ? widen_row<Bf16> : nullptr;
      break;
    default:
      break;
  }
  if (!row) return Kernel{};
  return rows_kernel(work, context, row);
}

std::optional<int64_t> cast_view(const Node& node) {
  if (node.operand(0).type.dtype != node.out().type.dtype) return std::nullopt;
  return 0;
}
std::optional<int64_t> times_one(const Node& node) {
  if (node.out().type != node.operand(0).type) return std::nullopt;
  if (auto factor = scalar_constant(node.operand(1)); !factor || *factor != 1) return std::nullopt;
  return 0;
}

const RegisteredView views[] = {RegisteredView{{"cast", cast_view}}, RegisteredView{{"mul", times_one}}};
const RegisteredKernel kernels[] = {
    RegisteredKernel{{"neg", {}, unary_any<Neg>}},
    RegisteredKernel{{"abs", {}, unary_any<Abs>}},
    RegisteredKernel{{"relu", {}, unary_any<Relu>, Fusion::is_relu}},
    RegisteredKernel{{"exp", {}, unary_float<Exp>}},
    RegisteredKernel{{"log", {}, unary_float<Log>}},
    RegisteredKernel{{"sqrt", {}, unary_float<Sqrt>}},
    RegisteredKernel{{"reciprocal", {}, unary_float<Reciprocal>}},
    RegisteredKernel{{"tanh", {}, unary_float<Tanh>}},
    RegisteredKernel{{"sigmoid", {}, unary_float<Sigmoid>}},
    RegisteredKernel{{"erf", {}, unary_float<Erf>}},
    RegisteredKernel{{"sin", {}, unary_float<Sin>}},
    RegisteredKernel{{"cos", {}, unary_float<Cos>}},
    RegisteredKernel{{"floor", {}, unary_float<Floor>}},
    RegisteredKernel{{"ceil", {}, unary_float<Ceil>}},
    RegisteredKernel{{"round", {}, unary_float<Round>}},
    RegisteredKernel{{"not", {DType::boolean}, logical_not}},
    RegisteredKernel{{"add", {}, binary<Add>, Fusion::is_add}},
    RegisteredKernel{{"sub", {}, binary<Sub>}},
    RegisteredKernel{{"mul", {}, binary<Mul>, Fusion::is_multiply}},
    RegisteredKernel{{"div", {}, binary<Div>, Fusion::is_divide}},
    RegisteredKernel{{"max", {}, binary<Max>}},
    RegisteredKernel{{"min", {}, binary<Min>}},
    RegisteredKernel{{"pow", {}, power}},
    RegisteredKernel{{"equal", {}, compare<Equal>}},
    RegisteredKernel{{"less", {}, compare<Less>}},
    RegisteredKernel{{"less_equal", {}, compare<LessEqual>}},
    RegisteredKernel{{"greater", {}, compare<Greater>}},
    RegisteredKernel{{"greater_equal", {}, compare<GreaterEqual>}},
    RegisteredKernel{{"and", {DType::boolean}, logical<And>}},
    RegisteredKernel{{"or", {DType::boolean}, logical<Or>}},
    RegisteredKernel{{"xor", {DType::boolean}, logical<Xor>}},
    RegisteredKernel{{"where", {}, compile_where}},
    RegisteredKernel{{"cast", {}, cast}},
};
}  // namespace
}  // namespace optp::kernels
