// How far apart in a row-major array's elements neighbours along each dim lie.
#pragma once
#include "frontend/ir/shard.h"

namespace optp {

inline Extents strides_of(llvm::ArrayRef<int64_t> dims) {
  Extents out(dims.size(), 1);
  for (size_t d = dims.size(); d-- > 1;) out[d - 1] = out[d] * dims[d];
  return out;
}
// Of an operand of extents `dims` seen as the (longer or larger) result, as numpy broadcasts: 0 along dims of 1, which
// may be repeated and are not walked otherwise.
inline Extents broadcast_strides(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> result) {
  const Extents own = strides_of(dims);
  Extents out(result.size(), 0);
  for (size_t k = 0; k < dims.size(); ++k)
    if (dims[k] != 1) out[result.size() - dims.size() + k] = own[k];
  return out;
}

}  // namespace optp
