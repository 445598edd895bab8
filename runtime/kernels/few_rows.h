// A product of few rows, the next token of each text, with packed weights: they are read once, at the speed of memory,
// where kernels made for many rows compute more than they need for that.
#pragma once
#include <dnnl.hpp>

#include "frontend/ir/dtype.h"
#include "llvm/ADT/SmallVector.h"
#include "runtime/kernels/packed_product.h"

namespace optp::kernels {

struct FewRows {
  static constexpr int64_t most = 4;

  int64_t m = 1, n = 1, k = 1;
  int64_t a_row = 0, a_column = 0, y_row = 0, y_column = 1;  // strides, in elements: a is [m, k], y is [m, n]
  llvm::SmallVector<ProductStep, 4> steps = {};
  // Of the weights: float32, a block's terms one after the other, or bfloat16, pairs of terms beside each other.
  DType dtype = DType::f32;
  int64_t block_terms = 0, block_columns = 0, next_terms = 0, next_columns = 0;  // next_: from a block to the next

  // Whether there are few rows and the library's layout of the weights is one of those that this reads, with 16, 32, 48
  // or 64 columns a block. Notes it.
  bool takes(const dnnl::memory::desc& weights);
  // The same for panels of our own: all terms of `columns` columns in a block.
  bool takes_panels(int64_t columns);
  // a and weights: of `dtype`. `added` holds an address a step; those of other steps than add are not read.
  void run(const void* a, const void* weights, float* y, const float* const* added, int threads) const;
};

}  // namespace optp::kernels
