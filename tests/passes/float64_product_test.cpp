// The product that a check spends its time in, against the sum that it stands for.
#include "passes/ops/float64_product.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

namespace optp::ops {
namespace {
TEST_CASE("a float64 product is the sum of its products, however its matrices lie") {
  std::mt19937 random(1);
  auto number = [&](int64_t from, int64_t to) { return std::uniform_int_distribution<int64_t>(from, to)(random); };
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (int trial = 0; trial < 400; ++trial) {
    CAPTURE(trial);
    const int64_t most = trial % 4 == 0 ? 1 : 40;  // one row, one column, one addend alike
    const int64_t m = number(1, number(1, most)), k = number(1, number(1, 40)), n = number(1, number(1, most));
    // Rows or columns contiguous, neither, or with elements of no matrix between them.
    auto steps = [&](int64_t rows, int64_t columns) -> Float64Product::Steps {
      const int64_t inner = number(1, 2), apart = number(0, 3);
      if (number(0, 1)) return {columns * inner + apart, inner};
      return {inner, rows * inner + apart};
    };
    const auto a_steps = steps(m, k), b_steps = steps(k, n), y_steps = steps(m, n);
    auto filled = [&](int64_t rows, int64_t columns, Float64Product::Steps s) {
      std::vector<double> out(size_t((rows - 1) * s.row + (columns - 1) * s.column + 1));
      for (double& x : out) x = uniform(random);
      return out;
    };
    const std::vector<double> a = filled(m, k, a_steps), b = filled(k, n, b_steps);
    std::vector<double> y = filled(m, n, y_steps), expected = y;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c)
        for (int64_t t = 0; t < k; ++t)
          expected[size_t(r * y_steps.row + c * y_steps.column)] +=
              a[size_t(r * a_steps.row + t * a_steps.column)] * b[size_t(t * b_steps.row + c * b_steps.column)];
    add_product({.m = m,
                 .k = k,
                 .n = n,
                 .a = a.data(),
                 .b = b.data(),
                 .y = y.data(),
                 .a_steps = a_steps,
                 .b_steps = b_steps,
                 .y_steps = y_steps});
    double worst = 0;
    for (size_t at = 0; at < y.size(); ++at)
      if (const double off = std::fabs(y[at] - expected[at]); !(off <= worst)) worst = off;
    CHECK(worst < 1e-13);  // 40 addends below 1
  }
}
}  // namespace
}  // namespace optp::ops
