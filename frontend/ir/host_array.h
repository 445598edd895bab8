// Arrays as they enter and leave a run: dense, row-major, in their own dtype, owned and writable.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/ir/tensor.h"

namespace optp {

struct HostArray {
  DType dtype = DType::undefined;
  Extents dims;
  std::vector<char> bytes;
};
using HostArrays = std::map<std::string, HostArray, std::less<>>;

HostArray host_array(const Array& array, DType dtype);
Array to_array(const HostArray& array);
// A matrix with rows and columns exchanged.
HostArray transposed(const HostArray& matrix);

// What a shard holds.
HostArray take(const Shard& shard, const HostArray& whole);
HostArray take(const Shard& shard, const Tensor& whole);
// The shards of a whole put together; `part` gives the bytes of each. Several may hold the same elements. Errors: bytes
// of another number than the shard's; an element that no shard holds.
llvm::Expected<HostArray> join(DType dtype, llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<Shard> shards,
                               llvm::function_ref<llvm::Expected<llvm::ArrayRef<char>>(size_t shard)> part);

}  // namespace optp
