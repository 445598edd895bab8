// top_k: the indices of each row are sorted as far as they are asked for.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {
namespace {
// NaN is larger than every number, as passes/ops has it.
template <typename T>
bool is_larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(a)) return !std::isnan(b);
  return a > b;
}
template <typename T>
llvm::Expected<Kernel> top_k_of(const Work& work, const KernelContext& context) {
  const Node& node = *work.node;
  const size_t axis = size_t(node.integer("axis"));
  const llvm::ArrayRef<int64_t> dims = work.operands[0].dims;
  const int64_t n = dims[axis], k = work.results[0].dims[axis], inner = strides_of(dims)[axis];
  const int64_t outer = count_of(dims.take_front(axis));
  const bool largest = node.integer("largest", 1) != 0;
  Kernel kernel;
  kernel.run = [=, threads = context.threads](const KernelCall& call) -> llvm::Error {
    const T* x = static_cast<const T*>(call.in[0]);
    int64_t* out = static_cast<int64_t*>(call.out[0]);
    parallel_for(threads, outer * inner, std::max<int64_t>(1, (1 << 12) / std::max<int64_t>(n, 1)),
                 [&](int64_t begin, int64_t end) {
                   std::vector<int64_t> order(static_cast<size_t>(n));
                   for (int64_t row = begin; row < end; ++row) {
                     const int64_t from = row / inner * n * inner + row % inner,
                                   to = row / inner * k * inner + row % inner;
                     std::iota(order.begin(), order.end(), 0);
                     std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
                       const T va = x[from + a * inner], vb = x[from + b * inner];
                       if (is_larger(va, vb)) return largest;
                       if (is_larger(vb, va)) return !largest;
                       return a < b;
                     });
                     for (int64_t j = 0; j < k; ++j) out[to + j * inner] = order[size_t(j)];
                   }
                 });
    return llvm::Error::success();
  };
  return kernel;
}
llvm::Expected<Kernel> top_k(const Work& work, const KernelContext& context) {
  switch (work.operands[0].dtype) {
    case DType::f64:
      return top_k_of<double>(work, context);
    case DType::i64:
      return top_k_of<int64_t>(work, context);
    case DType::i32:
      return top_k_of<int32_t>(work, context);
    default:
      return top_k_of<float>(work, context);
  }
}
const RegisteredKernel kernel{
    {.op = "top_k", .dtypes = {DType::f32, DType::f64, DType::i64, DType::i32}, .compile = top_k}};
}  // namespace
}  // namespace optp::kernels
