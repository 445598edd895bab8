// Conversions of the element type.
#include <limits>

#include "runtime/kernels/elementwise.h"

namespace optp::kernels {
namespace {
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

const RegisteredView views[] = {RegisteredView{{"cast", cast_view}}};
const RegisteredKernel kernels[] = {
    RegisteredKernel{{"cast", {}, cast}},
};
}  // namespace
}  // namespace optp::kernels
