// Products of a few rows and a panel of columns, held in registers: what attention's two products are made of.
#pragma once
#include <cstdint>

#include "frontend/ir/dtype.h"

namespace optp::kernels {

// y[rows, columns] = (add ? y : 0) + a[rows, terms] · b[terms, columns]. A row's terms lie side by side, as do a term's
// columns. Sums are made in the order of the terms.
struct TileCall {
  int64_t terms = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  const float* b = nullptr;
  int64_t b_row = 0;
  float* y = nullptr;
  int64_t y_row = 0;
  bool add = false;
};
using Tile = void (*)(const TileCall& call);

// For the processor's instructions, or fewer where the environment says so.
struct Tiles {
  static constexpr int64_t rows = 6;         // at most
  static constexpr int64_t most_lanes = 16;  // of any instruction set
  int64_t lanes = 4, columns = 8;            // of a vector; of a panel: so many vectors
  // By rows from 1 on and vectors from 1 on.
  Tile at(int64_t row_count, int64_t vectors) const { return table[(row_count - 1) * most_vectors + vectors - 1]; }

  // The same where a's rows lie across: row r of term t at a[t * a_row + r].
  Tile across(int64_t row_count, int64_t vectors) const {
    return across_table[(row_count - 1) * most_vectors + vectors - 1];
  }

  static constexpr int64_t most_vectors = 4;
  Tile table[rows * most_vectors] = {}, across_table[rows * most_vectors] = {};
};
const Tiles& tiles();

// y[c] = Σ a[t] · b[c, t]: a row against rows, as of keys that lie as they were made. Row strides in elements of b,
// which is float32, bfloat16 or float16.
void dot_rows(int64_t terms, const float* a, const void* b, DType dtype, int64_t b_row, int64_t rows, float* y);
// y[c] = Σ a[t] · b[t, c], in the order of t: rows weighted and summed up, as of values.
void sum_rows(int64_t terms, const float* a, const void* b, DType dtype, int64_t b_row, int64_t columns, float* y);

}  // namespace optp::kernels
