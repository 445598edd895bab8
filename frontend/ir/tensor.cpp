#include "frontend/ir/tensor.h"

#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "frontend/ir/half.h"

namespace optp {

int64_t count_of(llvm::ArrayRef<int64_t> dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}
int64_t Tensor::elements() const { return count_of(dims); }
int64_t Array::elements() const { return count_of(dims); }
void Array::resize(bool floating, llvm::ArrayRef<int64_t> new_dims) {
  dims.assign(new_dims.begin(), new_dims.end());
  is_float = floating;
  f.assign(floating ? size_t(elements()) : 0, 0.0);
  i.assign(floating ? 0 : size_t(elements()), 0);
}

std::shared_ptr<const Tensor> make_tensor(DType dtype, llvm::ArrayRef<int64_t> dims, std::vector<char> bytes) {
  auto data = std::make_shared<std::vector<char>>(std::move(bytes));
  auto tensor = std::make_shared<Tensor>();
  tensor->dtype = dtype;
  tensor->dims.assign(dims.begin(), dims.end());
  tensor->bytes = *data;
  tensor->owner = data;
  return tensor;
}

namespace {
template <typename T, typename Out>
void widen(llvm::ArrayRef<char> bytes, Out* out) {
  for (size_t k = 0; k < bytes.size() / sizeof(T); ++k) {
    T value;
    std::memcpy(&value, bytes.data() + k * sizeof(T), sizeof(T));
    out[k] = Out(value);  // NOLINT(bugprone-signed-char-misuse): 8-bit integers are numbers here
  }
}
void widen(DType dtype, llvm::ArrayRef<char> bytes, Array& out, size_t at) {
  double* f = out.f.data() + (out.is_float ? at : 0);
  int64_t* i = out.i.data() + (out.is_float ? 0 : at);
  switch (dtype) {
    case DType::f32:
      return widen<float>(bytes, f);
    case DType::f64:
      return widen<double>(bytes, f);
    case DType::f16:
    case DType::bf16:
      for (size_t k = 0; k < bytes.size() / 2; ++k) {
        uint16_t value;
        std::memcpy(&value, bytes.data() + 2 * k, 2);
        f[k] = dtype == DType::f16 ? f16_to_f32(value) : bf16_to_f32(value);
      }
      return;
    case DType::i8:
      return widen<int8_t>(bytes, i);
    case DType::i16:
      return widen<int16_t>(bytes, i);
    case DType::i32:
      return widen<int32_t>(bytes, i);
    case DType::i64:
      return widen<int64_t>(bytes, i);
    case DType::u8:
      return widen<uint8_t>(bytes, i);
    case DType::u16:
      return widen<uint16_t>(bytes, i);
    case DType::u32:
      return widen<uint32_t>(bytes, i);
    case DType::u64:
      return widen<uint64_t>(bytes, i);
    case DType::boolean:
      for (size_t k = 0; k < bytes.size(); ++k) i[k] = bytes[k] != 0;
      return;
    case DType::string:
    case DType::undefined:
      assert(false && "strings have no arithmetic");
      return;
  }
}
template <typename T>
void narrow(const Array& array, char* out) {
  for (int64_t k = 0; k < array.elements(); ++k) {
    T value;
    if (array.is_float && !std::is_floating_point_v<T>) {
      // C++ leaves out-of-range conversions undefined; ONNX does too, so any value will do.
      const double d = array.f[size_t(k)];
      value = d >= -0x1p63 && d < 0x1p63 ? T(int64_t(d)) : T(std::numeric_limits<int64_t>::min());
    } else {
      value = array.is_float ? T(array.f[size_t(k)]) : T(array.i[size_t(k)]);
    }
    std::memcpy(out + size_t(k) * sizeof(T), &value, sizeof(T));
  }
}
}  // namespace

std::shared_ptr<const Tensor> rounded(std::shared_ptr<const Tensor> wide, DType half) {
  assert(wide->dtype == DType::f32 && is_half(half));
  auto out = std::make_shared<Tensor>();
  out->dtype = half;
  out->dims = wide->dims;
  out->missing = wide->missing;
  if (!wide->is_missing()) out->wide = std::move(wide);
  return out;
}

Array to_array(const Tensor& tensor) {
  if (tensor.wide) return to_array(tensor, Shard::whole_of(tensor.dims));
  Array out;
  const auto* first = reinterpret_cast<const float*>(tensor.bytes.data());
  const bool is_aligned = reinterpret_cast<uintptr_t>(first) % alignof(float) == 0;
  if (tensor.dtype == DType::f32 && is_aligned && !tensor.is_missing()) {
    out.dims.assign(tensor.dims.begin(), tensor.dims.end());
    out.f.assign(first, first + out.elements());  // without zeros first, which cost as much
    return out;
  }
  out.resize(is_float(tensor.dtype), tensor.dims);
  widen(tensor.dtype, tensor.bytes, out, 0);
  return out;
}
Array to_array(const Tensor& tensor, const Shard& shard) {
  if (!tensor.wide && shard.is_whole()) return to_array(tensor);
  Array out;
  out.resize(is_float(tensor.dtype), shard.shape());
  size_t at = 0;
  for_each_run(shard, tensor, [&](llvm::ArrayRef<char> run) {
    widen(tensor.dtype, run, out, at);
    at += run.size() / size_t(size_bytes(tensor.dtype));
  });
  return out;
}
std::vector<char> to_bytes(const Array& array, DType dtype) {
  std::vector<char> out(size_t(array.elements() * size_bytes(dtype)));
  switch (dtype) {
    case DType::f32:
      narrow<float>(array, out.data());
      break;
    case DType::f64:
      narrow<double>(array, out.data());
      break;
    case DType::f16:
    case DType::bf16:
      for (int64_t k = 0; k < array.elements(); ++k) {
        const float value = float(array.number(k));
        const uint16_t bits = dtype == DType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
        std::memcpy(out.data() + 2 * k, &bits, 2);
      }
      break;
    case DType::i8:
      narrow<int8_t>(array, out.data());
      break;
    case DType::i16:
      narrow<int16_t>(array, out.data());
      break;
    case DType::i32:
      narrow<int32_t>(array, out.data());
      break;
    case DType::i64:
      narrow<int64_t>(array, out.data());
      break;
    case DType::u8:
      narrow<uint8_t>(array, out.data());
      break;
    case DType::u16:
      narrow<uint16_t>(array, out.data());
      break;
    case DType::u32:
      narrow<uint32_t>(array, out.data());
      break;
    case DType::u64:
      narrow<uint64_t>(array, out.data());
      break;
    case DType::boolean:
      for (int64_t k = 0; k < array.elements(); ++k) out[size_t(k)] = array.number(k) != 0;
      break;
    case DType::string:
    case DType::undefined:
      assert(false && "strings have no arithmetic");
      break;
  }
  return out;
}
std::shared_ptr<const Tensor> to_tensor(const Array& array, DType dtype) {
  return make_tensor(dtype, array.dims, to_bytes(array, dtype));
}

namespace {
// The elements of a list, as bytes.
template <typename T>
llvm::ArrayRef<char> bytes_of(const std::vector<T>& list) {
  return {reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T)};
}
template <typename T>
llvm::MutableArrayRef<char> bytes_of(std::vector<T>& list) {
  return {reinterpret_cast<char*>(list.data()), list.size() * sizeof(T)};
}
}  // namespace

Array take(const Shard& shard, const Array& whole) {
  Array out;
  out.resize(whole.is_float, shard.shape());
  if (whole.is_float)
    take(shard, bytes_of(whole.f), bytes_of(out.f), sizeof(double));
  else
    take(shard, bytes_of(whole.i), bytes_of(out.i), sizeof(int64_t));
  return out;
}
void put(const Shard& shard, Array& whole, const Array& part) {
  if (whole.is_float)
    put(shard, bytes_of(whole.f), bytes_of(part.f), sizeof(double));
  else
    put(shard, bytes_of(whole.i), bytes_of(part.i), sizeof(int64_t));
}
void add(const Shard& shard, Array& whole, const Array& part) {
  size_t from = 0;
  for_each_run(shard, [&](int64_t start, int64_t length) {
    for (int64_t k = start; k < start + length; ++k, ++from)
      if (whole.is_float)
        whole.f[size_t(k)] += part.f[from];
      else
        whole.i[size_t(k)] += part.i[from];
  });
}
namespace {
void round_run(DType half, llvm::ArrayRef<char> floats, llvm::function_ref<void(llvm::ArrayRef<char>)> sink) {
  constexpr size_t most = 1 << 14;
  std::vector<float> in(most);
  std::vector<uint16_t> out(most);
  for (size_t at = 0; at < floats.size() / 4; at += most) {
    const size_t count = std::min(most, floats.size() / 4 - at);
    std::memcpy(in.data(), floats.data() + 4 * at, 4 * count);
    if (half == DType::bf16)
      for (size_t k = 0; k < count; ++k) out[k] = Bf16::store(in[k]);
    else
      for (size_t k = 0; k < count; ++k) out[k] = F16::store(in[k]);
    sink({reinterpret_cast<const char*>(out.data()), 2 * count});
  }
}
}  // namespace
void for_each_run(const Shard& shard, const Tensor& tensor, llvm::function_ref<void(llvm::ArrayRef<char>)> sink) {
  if (tensor.wide)
    return for_each_run(shard, *tensor.wide, [&](llvm::ArrayRef<char> run) { round_run(tensor.dtype, run, sink); });
  const int64_t element = size_bytes(tensor.dtype);
  for_each_run(shard, [&](int64_t start, int64_t length) {
    sink(tensor.bytes.slice(size_t(start * element), size_t(length * element)));
  });
}
std::string index_text(int64_t linear, llvm::ArrayRef<int64_t> dims) {
  std::string out;
  for (size_t d = dims.size(); d-- > 0;) {
    out = std::to_string(linear % dims[d]) + (out.empty() ? "" : ", ") + out;
    linear /= dims[d];
  }
  return "[" + out + "]";
}
}  // namespace optp
