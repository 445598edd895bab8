// Layer norm and softmax over the last axis. Own loops: a row stays in the first-level cache, so that fusing a mask
// into softmax saves two passes over the scores, and oneDNN 2 and 3 disagree on a norm's scale and shift.
#include <cmath>

#include "runtime/kernel.h"
#include "runtime/kernels/softmax_row.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {
namespace {
llvm::Expected<Kernel> layer_norm(const Work& work, const KernelContext& context) {
  const TensorSpec& x = work.operands[0];
  const int64_t n = x.dims.back(), rows = n ? x.elements() / n : 0;
  Kernel kernel;
  kernel.in_place = 1;
  kernel.run = [n, rows, epsilon = float(work.node->number("epsilon", 1e-5)), threads = context.threads,
                count = work.operands.size()](const KernelCall& call) {
    const float* x = static_cast<const float*>(call.in[0]);
    const float* scale = static_cast<const float*>(call.in[1]);
    const float* bias = count > 2 ? static_cast<const float*>(call.in[2]) : nullptr;
    float* y = static_cast<float*>(call.out[0]);
    parallel_for(threads, rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(n, 1)), [=](int64_t begin, int64_t end) {
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t r = begin; r < end; ++r) {
          const float* a = x + r * n;
          float* o = y + r * n;
          const float mean = sum_of(n, [=](int64_t k) OPTP_LAMBDA { return a[k]; }) / float(n);
          const float variance =
              sum_of(n, [=](int64_t k) OPTP_LAMBDA { return (a[k] - mean) * (a[k] - mean); }) / float(n);
          const float factor = 1.0f / std::sqrt(variance + epsilon);
          if (bias)
            for (int64_t k = 0; k < n; ++k) o[k] = (a[k] - mean) * factor * scale[k] + bias[k];
          else
            for (int64_t k = 0; k < n; ++k) o[k] = (a[k] - mean) * factor * scale[k];
        }
      });
    });
    return llvm::Error::success();
  };
  return kernel;
}

OPTP_INLINE inline void softmax_row(const float* a, float* o, int64_t n) {
  const float factor = 1.0f / exponentials_of(a, largest_of(a, n), o, n);
  for (int64_t i = 0; i < n; ++i) o[i] *= factor;
}

// `before`: scales, and addends (masks, position biases) broadcast to the scores, row by row.
llvm::Expected<Kernel> softmax(const Work& work, const KernelContext& context) {
  const TensorSpec& x = work.operands[0];
  const TensorSpec& y = work.results[0];
  const size_t axis = size_t(work.node->integer("axis"));
  const int64_t n = y.dims[axis], inner = strides_of(y.dims)[axis];
  if (inner != 1 || x.dims != y.dims) return Kernel{};
  Loops loops;
  loops.dims.assign(y.dims.begin(), y.dims.end());
  loops.strides = {strides_of(y.dims)};
  for (const Fused& f : work.before)
    if (f.kind == Fused::Kind::add)
      loops.strides.push_back(broadcast_strides(work.operands[f.operand].dims, y.dims));
    else if (f.kind != Fused::Kind::scale)
      return Kernel{};
  // Not collapsed: the axis stays a row; what follows it has extent 1.
  loops.dims.truncate(axis + 1);
  for (Ints& strides : loops.strides) strides.truncate(axis + 1);
  const int64_t rows = n ? y.elements() / n : 0;
  Kernel kernel;
  kernel.in_place = 1;
  kernel.run = [loops, rows, n, before = work.before, threads = context.threads](const KernelCall& call) {
    const float* x = static_cast<const float*>(call.in[0]);
    float* y = static_cast<float*>(call.out[0]);
    parallel_for(threads, rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)), [&](int64_t begin, int64_t end) {
      loops.rows(begin, end, [&](llvm::ArrayRef<int64_t> at) {
        const float* from = x + at[0];
        float* to = y + at[0];
        size_t tensor = 0;
        for (const Fused& f : before) {
          if (f.kind == Fused::Kind::scale) {
            vectorised([=, factor = float(f.factor)]() OPTP_LAMBDA {
              for (int64_t k = 0; k < n; ++k) to[k] = from[k] * factor;
            });
          } else {
            const float* add = static_cast<const float*>(call.in[f.operand]) + at[++tensor];
            if (loops.strides[tensor].back() == 0)
              vectorised([=, one = *add]() OPTP_LAMBDA {
                for (int64_t k = 0; k < n; ++k) to[k] = from[k] + one;
              });
            else
              vectorised([=]() OPTP_LAMBDA {
                for (int64_t k = 0; k < n; ++k) to[k] = from[k] + add[k];
              });
          }
          from = to;
        }
        vectorised([=]() OPTP_LAMBDA { softmax_row(from, to, n); });
      });
    });
    return llvm::Error::success();
  };
  return kernel;
}

const RegisteredKernel layer_norm_kernel{{.op = "layer_norm", .dtypes = {DType::f32}, .compile = layer_norm}};
const RegisteredKernel softmax_kernel{
    {.op = "softmax", .dtypes = {DType::f32}, .compile = softmax, .fusion = Fusion::takes_before}};
}  // namespace
}  // namespace optp::kernels
