// A product of float32 matrices on weights in panels. For AVX2: there oneDNN's own is a general gemm that copies the
// weights anew at each call, row by row. And for any processor where oneDNN has no kernel for a form, or a wrong one.
// Rows whose stride is a multiple of 4096 bytes then fall on each other in the first-level cache: 22 GFLOP/s at [128,
// 768] × [768, 3072], where panels packed once do 90.
#pragma once
#include <cstdint>

#include "llvm/ADT/SmallVector.h"

namespace optp::kernels {

// What is done to an element of y once it is summed.
struct ProductStep {
  enum class Kind { add, scale, relu } kind;
  float factor = 1;             // scale
  int64_t row = 0, column = 0;  // add: strides
};
struct PackedProduct {
  static constexpr int64_t panel_columns = 16;

  int64_t m = 1, n = 1, k = 1;
  int64_t a_row = 0, a_column = 0;  // strides, in elements: a is [m, k], b is [k, n], y is [m, n]
  int64_t b_row = 0, b_column = 0;
  int64_t y_row = 0;
  llvm::SmallVector<ProductStep, 4> steps;

  static bool preferred();  // to oneDNN's general gemm, on the processor this runs on

  // b as panels of columns, k rows each, zeros beyond n.
  int64_t packed_elements() const;
  void pack(const float* b, float* packed, int threads) const;

  int64_t scratch_elements(int threads) const;
  // `added` holds an address a step; those of other steps than add are not read.
  void run(const float* a, const float* packed, float* y, const float* const* added, float* scratch, int threads) const;
};

}  // namespace optp::kernels
