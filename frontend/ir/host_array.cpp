#include "frontend/ir/host_array.h"

#include <algorithm>
#include <cstring>

#include "frontend/ir/diagnostic.h"

namespace optp {
HostArray host_array(const Array& array, DType dtype) { return {dtype, array.dims, to_bytes(array, dtype)}; }
Array to_array(const HostArray& array) {
  Tensor tensor;
  tensor.dtype = array.dtype;
  tensor.dims = array.dims;
  tensor.bytes = array.bytes;
  return to_array(tensor);
}
HostArray transposed(const HostArray& matrix) {
  const int64_t rows = matrix.dims[0], columns = matrix.dims[1], size = size_bytes(matrix.dtype);
  HostArray out{matrix.dtype, {columns, rows}, std::vector<char>(matrix.bytes.size())};
  constexpr int64_t block = 32;  // both sides of one lie in the first-level cache
  for (int64_t r = 0; r < rows; r += block)
    for (int64_t c = 0; c < columns; c += block)
      for (int64_t i = r; i < std::min(rows, r + block); ++i)
        for (int64_t j = c; j < std::min(columns, c + block); ++j)
          std::memcpy(&out.bytes[size_t((j * rows + i) * size)], &matrix.bytes[size_t((i * columns + j) * size)],
                      size_t(size));
  return out;
}

namespace {
HostArray taken(const Shard& shard, DType dtype, llvm::ArrayRef<char> whole) {
  HostArray out{dtype, shard.shape(), std::vector<char>(size_t(shard.elements() * size_bytes(dtype)))};
  take(shard, whole, out.bytes, size_bytes(dtype));
  return out;
}
}  // namespace
HostArray take(const Shard& shard, const HostArray& whole) { return taken(shard, whole.dtype, whole.bytes); }
HostArray take(const Shard& shard, const Tensor& whole) { return taken(shard, whole.dtype, whole.bytes); }

llvm::Expected<HostArray> join(DType dtype, llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<Shard> shards,
                               llvm::function_ref<llvm::Expected<llvm::ArrayRef<char>>(size_t)> part) {
  const int64_t element = size_bytes(dtype);
  HostArray out{dtype, Extents(whole), std::vector<char>(size_t(count_of(whole) * element))};
  for (size_t k = 0; k < shards.size(); ++k) {
    auto bytes = part(k);
    if (!bytes) return bytes.takeError();
    if (const int64_t expected = shards[k].elements() * element; int64_t(bytes->size()) != expected)
      return error(Code::malformed)
          .what("shard " + to_string(shards[k], 4))
          .expected(llvm::Twine(expected) + " bytes")
          .found(bytes->size());
    put(shards[k], out.bytes, *bytes, element);
  }
  if (auto at = held_by_none(whole, shards))
    return error(Code::malformed).what("element " + to_string(Dims(at->begin(), at->end()))).what("no shard holds it");
  return out;
}
}  // namespace optp
