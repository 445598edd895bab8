// Reductions over axes and the running sum. Kept and reduced dims are two nests of loops; a reduction along rows or
// down columns vectorises.
#include <cmath>
#include <limits>

#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"
#include "runtime/kernels/vector.h"

namespace optp::kernels {
namespace {
struct Sum {
  template <class T>
  static constexpr T start() {
    return T(0);
  }
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (std::is_integral_v<T>)
      return T(uint64_t(a) + uint64_t(b));
    else
      return a + b;
  }
};
struct Prod {
  template <class T>
  static constexpr T start() {
    return T(1);
  }
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    if constexpr (std::is_integral_v<T>)
      return T(uint64_t(a) * uint64_t(b));
    else
      return a * b;
  }
};
struct Max {
  template <class T>
  static constexpr T start() {
    return std::is_integral_v<T> ? std::numeric_limits<T>::lowest() : -std::numeric_limits<T>::infinity();
  }
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    return a != a ? a : (b != b ? b : (a > b ? a : b));
  }
};
struct Min {
  template <class T>
  static constexpr T start() {
    return std::is_integral_v<T> ? std::numeric_limits<T>::max() : std::numeric_limits<T>::infinity();
  }
  template <class T>
  OPTP_INLINE static T of(T a, T b) {
    return a != a ? a : (b != b ? b : (a < b ? a : b));
  }
};

template <class F, class T>
OPTP_INLINE inline T fold_row(const T* x, int64_t n, int64_t step) {
  constexpr int lanes = 16;
  T part[lanes];
  for (int j = 0; j < lanes; ++j) part[j] = F::template start<T>();
  int64_t k = 0;
  if (step == 1)
    for (; k + lanes <= n; k += lanes)
      for (int j = 0; j < lanes; ++j) part[j] = F::of(part[j], x[k + j]);
  for (; k < n; ++k) part[0] = F::of(part[0], x[k * step]);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) part[j] = F::of(part[j], part[j + width]);
  return part[0];
}

// The two nests of one reduction, and what a mean divides by.
struct Nests {
  Loops kept, gone;  // kept: result, operand; gone: operand
  int64_t gone_rows = 1, gone_length = 1, gone_step = 1;
  double count = 1;

  // Down columns: a result row is made of whole rows of the operand.
  bool is_down_columns() const { return kept.row_stride(1) == 1 && gone_step != 1 && kept.row_length() >= 8; }
};
Nests nests_of(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> axes) {
  const Ints own = strides_of(dims);
  Nests out;
  Loops &kept = out.kept, &gone = out.gone;
  kept.strides.resize(2);
  gone.strides.resize(1);
  for (size_t d = 0; d < dims.size(); ++d)
    if (llvm::is_contained(axes, int64_t(d))) {
      gone.dims.push_back(dims[d]);
      gone.strides[0].push_back(own[d]);
      out.count *= double(dims[d]);
    } else {
      kept.dims.push_back(dims[d]);
      kept.strides[1].push_back(own[d]);
    }
  kept.strides[0] = strides_of(kept.dims);
  kept.collapse();
  gone.collapse();
  out.gone_rows = gone.row_count(), out.gone_length = gone.row_length(), out.gone_step = gone.row_stride(0);
  return out;
}

template <class F, class T>
void fold_columns(const Nests& nests, const T* in, T* out, int64_t n) {
  std::fill(out, out + n, F::template start<T>());
  nests.gone.rows(0, nests.gone_rows, [&](llvm::ArrayRef<int64_t> from) {
    for (int64_t r = 0; r < nests.gone_length; ++r) {
      const T* row = in + from[0] + r * nests.gone_step;
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t k = 0; k < n; ++k) out[k] = F::of(out[k], row[k]);
      });
    }
  });
}
template <class F, class T>
T fold_element(const Nests& nests, const T* in) {
  T value = F::template start<T>();
  nests.gone.rows(0, nests.gone_rows,
                  [&, length = nests.gone_length, step = nests.gone_step](llvm::ArrayRef<int64_t> from) {
                    T one;
                    const T* row = in + from[0];
                    vectorised([=, &one]() OPTP_LAMBDA { one = fold_row<F, T>(row, length, step); });
                    value = F::of(value, one);
                  });
  return value;
}

template <class F, class T>
Kernel reduce(const Work& work, const KernelContext& context, Nests nests, bool mean) {
  if (mean)
    if (auto total = work.node->dim("count", Dim(int64_t(nests.count))).constant()) nests.count = double(*total);
  Kernel kernel;
  kernel.run = [=, columns = nests.is_down_columns(), elements = work.results[0].elements(),
                threads = context.threads](const KernelCall& call) {
    static constexpr T nothing{};  // of an empty operand, which may be null, no element is read
    const T* x = call.in[0] ? static_cast<const T*>(call.in[0]) : &nothing;
    T* y = static_cast<T*>(call.out[0]);
    if (elements == 0) return llvm::Error::success();
    const Loops& kept = nests.kept;
    const int64_t n = kept.row_length(), row_terms = n * nests.gone_rows * nests.gone_length;
    auto finish = [mean, count = T(nests.count)](T value) { return mean ? T(value / count) : value; };
    parallel_for(threads, kept.row_count(), std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, row_terms)),
                 [&](int64_t begin, int64_t end) {
                   kept.rows(begin, end, [&](llvm::ArrayRef<int64_t> at) {
                     T* out = y + at[0];
                     const T* in = x + at[1];
                     if (columns) {
                       fold_columns<F>(nests, in, out, n);
                       if (mean)
                         for (int64_t k = 0; k < n; ++k) out[k] = finish(out[k]);
                       return;
                     }
                     for (int64_t k = 0; k < n; ++k)
                       out[k * kept.row_stride(0)] = finish(fold_element<F>(nests, in + k * kept.row_stride(1)));
                   });
                 });
    return llvm::Error::success();
  };
  return kernel;
}
template <class F>
llvm::Expected<Kernel> compile(const Work& work, const KernelContext& context, const Nests& nests) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return reduce<F, float>(work, context, nests, /*mean=*/false);
    case DType::f64:
      return reduce<F, double>(work, context, nests, /*mean=*/false);
    case DType::i64:
      return reduce<F, int64_t>(work, context, nests, /*mean=*/false);
    default:
      return Kernel{};
  }
}
Nests nests_of(const Work& work) { return nests_of(work.operands[0].dims, work.node->integers("axes")); }
template <class F>
llvm::Expected<Kernel> compile_reduce(const Work& work, const KernelContext& context) {
  return compile<F>(work, context, nests_of(work));
}
// The neighbours are a dim of their own.
llvm::Expected<Kernel> compile_sum_repeats(const Work& work, const KernelContext& context) {
  const int64_t axis = work.node->integer("axis"), times = work.node->integer("times");
  Ints dims(work.operands[0].dims.begin(), work.operands[0].dims.end());
  dims[size_t(axis)] /= times;
  dims.insert(dims.begin() + axis + 1, times);
  return compile<Sum>(work, context, nests_of(dims, {axis + 1}));
}
llvm::Expected<Kernel> compile_mean(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return reduce<Sum, float>(work, context, nests_of(work), /*mean=*/true);
    case DType::f64:
      return reduce<Sum, double>(work, context, nests_of(work), /*mean=*/true);
    default:
      return Kernel{};
  }
}

template <class T>
Kernel running_sum(const Work& work) {
  const TensorSpec& x = work.operands[0];
  const size_t axis = size_t(work.node->integer("axis"));
  const int64_t n = x.dims[axis], inner = strides_of(x.dims)[axis],
                outer = count_of(llvm::ArrayRef<int64_t>(x.dims).take_front(axis));
  const bool exclusive = work.node->integer("exclusive") != 0, reverse = work.node->integer("reverse") != 0;
  Kernel kernel;
  kernel.in_place = 1;
  kernel.run = [=](const KernelCall& call) {
    const T* x = static_cast<const T*>(call.in[0]);
    T* y = static_cast<T*>(call.out[0]);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        T sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          const int64_t at = (o * n + (reverse ? n - 1 - k : k)) * inner + i;
          const T before = sum;
          sum = Sum::of(sum, x[at]);
          y[at] = exclusive ? before : sum;
        }
      }
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> cumsum(const Work& work, const KernelContext&) {
  switch (work.operands[0].dtype) {
    case DType::f32:
      return running_sum<float>(work);
    case DType::f64:
      return running_sum<double>(work);
    case DType::i32:
      return running_sum<int32_t>(work);
    case DType::i64:
      return running_sum<int64_t>(work);
    default:
      return Kernel{};
  }
}

const RegisteredKernel kernels[] = {
    RegisteredKernel{{"reduce_sum", {}, compile_reduce<Sum>, Fusion::is_sum}},
    RegisteredKernel{{"sum_repeats", {}, compile_sum_repeats}},
    RegisteredKernel{{"reduce_prod", {}, compile_reduce<Prod>}},
    RegisteredKernel{{"reduce_max", {}, compile_reduce<Max>}},
    RegisteredKernel{{"reduce_min", {}, compile_reduce<Min>}},
    RegisteredKernel{{"reduce_mean", {}, compile_mean}},
    RegisteredKernel{{"cumsum", {}, cumsum}},
};
}  // namespace
}  // namespace optp::kernels
