// Products of float64 matrices by Eigen, compiled for several instruction sets and chosen when the program runs: nearly
// all the time of a check goes here.
#pragma once
#include <cstdint>

namespace optp::ops {

// y += a · b, of m × k by k × n elements; from one row, and from one column, to the next of each matrix.
struct Float64Product {
  int64_t m, k, n;
  const double *a, *b;
  double* y;
  struct Steps {
    int64_t row, column;
  } a_steps, b_steps, y_steps;
};
void add_product(const Float64Product& p);

}  // namespace optp::ops
