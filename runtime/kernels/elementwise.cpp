#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
constexpr int64_t grain_elements = 1 << 14;
}  // namespace

Kernel rows_kernel(const Work& work, const KernelContext& context, Row row) {
  Loops loops;
  const TensorSpec& y = work.results[0];
  loops.dims = y.dims;
  loops.strides.push_back(strides_of(y.dims));
  for (const TensorSpec& s : work.operands) loops.strides.push_back(broadcast_strides(s.dims, y.dims));
  loops.collapse();
  Kernel kernel;
  kernel.row = row;
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
}  // namespace optp::kernels
