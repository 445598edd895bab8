// A product of few rows, the next token of each text, with bfloat16 weights in the library's layout: the weights are
// read once, at the speed of memory, where the library's kernels compute more than they need for that.
#pragma once
#include <dnnl.hpp>
#include <optional>

#include "llvm/ADT/SmallVector.h"
#include "runtime/kernels/packed_product.h"

namespace optp::kernels {

struct FewRows {
  static constexpr int64_t most = 4;

  int64_t m = 1, n = 1, k = 1;
  int64_t a_row = 0, a_column = 0, y_row = 0, y_column = 1;  // strides, in elements: a is [m, k], y is [m, n]
  llvm::SmallVector<ProductStep, 4> steps = {};
  int64_t block_columns = 0, next_terms = 0, next_columns = 0;  // of the weights' layout: from a block to the next

  // Whether the weights' layout is one of those that this reads: pairs of terms beside each other, 16 pairs and 16, 32,
  // 48 or 64 columns a block. Notes it.
  bool takes(const dnnl::memory::desc& weights);
  // `added` holds an address a step; those of other steps than add are not read.
  void run(const uint16_t* a, const uint16_t* weights, float* y, const float* const* added, int threads) const;
};

}  // namespace optp::kernels
