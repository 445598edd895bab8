// where(condition, x, y): whole rows where the condition is repeated along them.
#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
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

const RegisteredKernel kernels[] = {
    RegisteredKernel{{"where", {}, compile_where, Fusion::is_steady}},
};
}  // namespace
}  // namespace optp::kernels
