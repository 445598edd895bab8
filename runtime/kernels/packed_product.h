// A product of float32 or bfloat16 matrices, summed in float32, on weights in panels. For AVX2: there oneDNN's own is a
// general gemm that copies the weights anew at each call, row by row. And for any processor where oneDNN has no kernel
// for a form, or a wrong one. Rows whose stride is a multiple of 4096 bytes then fall on each other in the first-level
// cache: 22 GFLOP/s at [128, 768] × [768, 3072], where panels packed once do 90. Of bfloat16 where the processor has no
// instructions for it: panels keep it, half the bytes, and are widened a part at a time, as it is used by all rows.
#pragma once
#include <cstdint>

#include "frontend/ir/dtype.h"
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
  DType dtype = DType::f32;  // of a and b: f32 or bf16
  llvm::SmallVector<ProductStep, 4> steps;

  static bool preferred();  // to oneDNN's general gemm, on the processor this runs on

  // b as panels of columns, k rows each, zeros beyond n. Of bfloat16 pairs of rows lie beside each other, and zeros
  // beyond k.
  int64_t packed_bytes() const;
  void pack(const void* b, void* packed, int threads) const;

  int64_t scratch_bytes(int threads) const;
  // `added` holds an address a step; those of other steps than add are not read.
  void run(const void* a, const void* packed, float* y, const float* const* added, float* scratch, int threads) const;

 private:
  struct Running;
  int64_t panel_elements() const;
  template <class Element>
  void pack_panels(const Element* b, Element* packed, int threads) const;
  void run_panel(const Running& run, int64_t first, int64_t last, int64_t panel, int64_t at, int64_t length,
                 float* rest) const;
};

}  // namespace optp::kernels
