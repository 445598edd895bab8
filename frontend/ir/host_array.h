// Arrays as they enter and leave: dense, row-major, in their own dtype.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/ir/tensor.h"

namespace optp {

// Not owned; aligned to the element.
struct HostArrayRef {
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;
  const void* data = nullptr;
};
struct HostArray {
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;
  std::vector<char> bytes;

  operator HostArrayRef() const { return {dtype, dims, bytes.data()}; }
};

HostArray host_array(const Array& array, DType dtype);
Array to_array(const HostArray& array);

}  // namespace optp
