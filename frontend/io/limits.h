// The bounds that every reader obeys, and the only arithmetic it may do on sizes that came out of a file.
#pragma once
#include <cstdint>
#include <optional>

#include "frontend/ir/dtype.h"
#include "llvm/ADT/ArrayRef.h"

namespace optp {

// Each bound is far above what a real model needs and far below what hurts, so that a malicious file is rejected with a
// reason instead of exhausting memory. Fields, not constants, so that a test can lower one instead of building a giant
// file.
struct Limits {
  int64_t max_model_bytes = (int64_t{1} << 31) - 1;  // protobuf's own: it counts bytes in an int
  int64_t max_nodes = int64_t{1} << 22;              // of one graph with all its subgraphs
  int64_t max_ndim = 64;                             // numpy's
  int64_t max_elements = int64_t{1} << 48;           // of one tensor: far from overflow after any element size
  int64_t max_nesting = 32;                          // graphs within graphs, as ONNX Runtime; JSON within JSON
  int64_t max_call_depth = 100;                      // model-local functions, as ONNX's checker
  int64_t max_functions = 10'000;
  int64_t max_location_bytes = 4096;                // PATH_MAX
  int64_t max_npy_header_bytes = int64_t{1} << 16;  // what version 1 of the format can hold
  int64_t max_json_bytes = int64_t{1} << 30;        // plans of large models list every tensor for every rank
  int64_t max_manifest_bytes = int64_t{1} << 24;
};

inline std::optional<int64_t> checked_mul(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Of a tensor with these dims; nothing if one is negative or the product does not fit. A dim of 0 makes any tensor
// empty, wherever it stands: without that, [2^40, 2^40, 0] would overflow and [0, 2^40, 2^40] would not.
inline std::optional<int64_t> element_count(llvm::ArrayRef<int64_t> dims) {
  bool empty = false;
  for (int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    empty |= dim == 0;
  }
  if (empty) return 0;
  std::optional<int64_t> count = 1;
  for (int64_t dim : dims)
    if (count) count = checked_mul(*count, dim);
  return count;
}
inline std::optional<int64_t> size_bytes(DType dtype, llvm::ArrayRef<int64_t> dims) {
  const std::optional<int64_t> count = element_count(dims);
  return count ? checked_mul(*count, size_bytes(dtype)) : std::nullopt;
}

}  // namespace optp
