// Sums and softmax of a row of floats, in an order that vectorises and depends on the row's length alone. Called inside
// of vectorised().
#pragma once
#include <cmath>

#include "runtime/kernels/vector.h"

namespace optp::kernels {

constexpr int row_lanes = 16;

OPTP_INLINE inline float sum_of_lanes(float (&part)[row_lanes]) {
  for (int width = row_lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) part[j] += part[j + width];
  return part[0];
}
// Σ f(k) for k in [0, n).
template <class F>
OPTP_INLINE inline float sum_of(int64_t n, const F& f) {
  float part[row_lanes] = {};
  int64_t k = 0;
  for (; k + row_lanes <= n; k += row_lanes)
    for (int j = 0; j < row_lanes; ++j) part[j] += f(k + j);
  for (int j = 0; k + j < n; ++j) part[j] += f(k + j);
  return sum_of_lanes(part);
}
OPTP_INLINE inline float largest_of(const float* a, int64_t n) {
  float most[row_lanes];
  for (int j = 0; j < row_lanes; ++j) most[j] = -INFINITY;
  int64_t k = 0;
  for (; k + row_lanes <= n; k += row_lanes)
    for (int j = 0; j < row_lanes; ++j) most[j] = a[k + j] > most[j] ? a[k + j] : most[j];
  for (int j = 0; k + j < n; ++j) most[j] = a[k + j] > most[j] ? a[k + j] : most[j];
  float top = most[0];
  for (int j = 1; j < row_lanes; ++j) top = most[j] > top ? most[j] : top;
  return top;
}
// o[k] = exp(a[k] - top); their sum.
OPTP_INLINE inline float exponentials_of(const float* a, float top, float* o, int64_t n) {
  for (int64_t i = 0; i < n; ++i) o[i] = exp_of(a[i] - top);
  return sum_of(n, [=](int64_t i) OPTP_LAMBDA { return o[i]; });
}

}  // namespace optp::kernels
