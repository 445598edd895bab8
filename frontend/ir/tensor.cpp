#include "frontend/ir/tensor.h"

#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

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
    out[k] = Out(value);
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

Array to_array(const Tensor& tensor) {
  Array out;
  out.resize(is_float(tensor.dtype), tensor.dims);
  widen(tensor.dtype, tensor.bytes, out, 0);
  return out;
}
Array to_array(const Tensor& tensor, llvm::ArrayRef<Intervals> held) {
  if (held.empty()) return to_array(tensor);
  Array out;
  llvm::SmallVector<int64_t, 4> dims;
  for (const Intervals& h : held) {
    int64_t n = 0;
    for (auto [start, length] : h) n += length;
    dims.push_back(n);
  }
  out.resize(is_float(tensor.dtype), dims);
  size_t at = 0;
  for_each_run(tensor, held, [&](llvm::ArrayRef<char> run) {
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

void for_each_run(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Intervals> held,
                  llvm::function_ref<void(int64_t, int64_t)> visit) {
  const size_t ndim = dims.size();
  llvm::SmallVector<int64_t, 4> stride(ndim + 1, 1);
  for (size_t d = ndim; d-- > 0;) stride[d] = stride[d + 1] * dims[d];
  // Trailing dims that are held whole belong to one run.
  size_t inner = ndim;
  while (inner > 0 && held[inner - 1].size() == 1 &&
         held[inner - 1][0] == std::pair<int64_t, int64_t>{0, dims[inner - 1]})
    --inner;
  auto walk = [&](auto&& self, size_t d, int64_t offset) -> void {
    if (d >= inner) return visit(offset, stride[d]);
    for (auto [start, length] : held[d]) {
      if (d + 1 == inner) {
        if (length > 0) visit(offset + start * stride[d + 1], length * stride[d + 1]);
      } else {
        for (int64_t k = start; k < start + length; ++k) self(self, d + 1, offset + k * stride[d + 1]);
      }
    }
  };
  for (const Intervals& h : held)
    for (auto [start, length] : h)
      if (length == 0 && h.size() == 1) return;
  walk(walk, 0, 0);
}
void for_each_run(const Tensor& tensor, llvm::ArrayRef<Intervals> held,
                  llvm::function_ref<void(llvm::ArrayRef<char>)> sink) {
  if (held.empty()) return sink(tensor.bytes);
  const auto element = size_t(size_bytes(tensor.dtype));
  for_each_run(tensor.dims, held, [&](int64_t start, int64_t length) {
    sink(tensor.bytes.slice(size_t(start) * element, size_t(length) * element));
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
