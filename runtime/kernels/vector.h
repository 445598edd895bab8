// Loops that vectorise, compiled for several instruction sets and chosen when the program runs: the build is for any
// x86-64. Functions of one float without branches, so that they vectorise too.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "runtime/instruction_set.h"

namespace optp::kernels {

#if defined(__x86_64__) && defined(__GNUC__)
#define OPTP_INLINE [[gnu::always_inline]]
#define OPTP_LAMBDA __attribute__((always_inline))
template <class Loop>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"), gnu::flatten]] void run_v4(
    const Loop& loop) {
  loop();
}
template <class Loop>
[[gnu::target("avx2,fma"), gnu::flatten]] void run_v3(const Loop& loop) {
  loop();
}
template <class Loop>
void vectorised(const Loop& loop) {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return run_v4(loop);
    case InstructionSet::avx2:
      return run_v3(loop);
    case InstructionSet::baseline:
      return loop();
  }
}
#else
#define OPTP_INLINE
#define OPTP_LAMBDA
template <class Loop>
void vectorised(const Loop& loop) {
  loop();
}
#endif

// Largest errors, measured over floats of all exponents with and without fused multiply-adds: exp 1.0, tanh 1.3,
// erf 1.3 units in the last place. tests/runtime/vector_test.cpp holds them to 1.5. The code is under this project's
// licence; coefficients called Cephes' are from S. L. Moshier's Cephes library (netlib.org/cephes), "may be used
// freely".

// Cephes' expf: 2^n · e^r, |r| ≤ ln2/2. Results below the smallest normal number are 0.
OPTP_INLINE inline float exp_of(float x) {
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // In two factors, since n may be 128.
  const auto exponent = int32_t(std::bit_cast<uint32_t>(shifted) - 0x4b400000u);  // of numbers out of range anything
  const int32_t half = exponent >> 1;
  const float a = std::bit_cast<float>(uint32_t(half + 127) << 23),
              b = std::bit_cast<float>(uint32_t(exponent - half + 127) << 23);
  float y = p * a * b;
  y = x < -87.3365f ? 0.0f : y;
  return x > 88.72283f ? std::numeric_limits<float>::infinity() : y;
}
// Cephes' tanhf.
OPTP_INLINE inline float tanh_of(float x) {
  const float z = x * x, magnitude = std::fabs(x);
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float big = std::copysign(1.0f - 2.0f / (exp_of(2.0f * magnitude) + 1.0f), x);
  const float y = magnitude > 0.625f ? big : small;
  return x != x ? x : y;
}
// Minimax polynomials of our own, by iteratively reweighted least squares on Chebyshev points: of erf(x)/x - 1 in x² up
// to 0.928, and of log(erfc(t))/t + 1 in t from there to 4.05, beyond which the result is 1.
OPTP_INLINE inline float erf_of(float x) {
  const float t = std::fabs(x), s = x * x;
  float r = -1.1527029e-5f * t + 3.2576645e-4f;
  r = r * t - 3.6545165e-3f;
  r = r * t + 2.3787592e-2f;
  r = r * t - 1.0626655e-1f;
  r = r * t - 6.3513333e-1f;
  r = r * t - 1.2865292e-1f;
  r = r * t - t;
  const float limited = t > 4.05f ? -88.0f : r;
  const float big = std::copysign(1.0f - exp_of(limited), x);
  float q = -5.9641176e-4f;
  q = q * s + 4.9879784e-3f;
  q = q * s - 2.6763109e-2f;
  q = q * s + 1.1281720e-1f;
  q = q * s - 3.7612486e-1f;
  q = q * s + 1.2837915e-1f;
  const float small = q * x + x;
  const float y = t > 0.927734375f ? big : small;
  return x != x ? x : y;
}

}  // namespace optp::kernels
