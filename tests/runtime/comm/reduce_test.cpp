#include "runtime/comm/reduce.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/runtime/comm/ranks.h"

using namespace optp;
using namespace optp::testing;

namespace {

// in[0] + 0 for every bit pattern of a half: load and store, against dtype.cpp's.
void check_all_halves(DType dtype, float (*widen)(uint16_t), uint16_t (*narrow)(float)) {
  std::vector<uint16_t> halves(65536), zeros(65536, 0), out(65536);
  for (int i = 0; i < 65536; ++i) halves[i] = uint16_t(i);
  const void* in[] = {halves.data(), zeros.data()};
  reduce(dtype, Reduce::sum, in, static_cast<void*>(out.data()), {.elements = 65536});
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) wrong += out[i] != narrow(widen(halves[i]) + 0.0f);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("halves are widened and rounded as frontend/ir/dtype does") {
  check_all_halves(DType::f16, f16_to_f32, f32_to_f16);
  check_all_halves(DType::bf16, bf16_to_f32, f32_to_bf16);
  // Sums of two random halves of any exponent need rounding, overflow and underflow.
  for (DType dtype : {DType::f16, DType::bf16}) {
    Random random{17};
    const int n = 200000;
    std::vector<uint16_t> a(n), b(n), out(n);
    for (int i = 0; i < n; ++i) a[i] = uint16_t(random.next()), b[i] = uint16_t(random.next());
    const void* in[] = {a.data(), b.data()};
    reduce(dtype, Reduce::sum, in, static_cast<void*>(out.data()), {.elements = n});
    int wrong = 0;
    for (int i = 0; i < n; ++i) {
      const uint16_t expected = dtype == DType::f16 ? f32_to_f16(f16_to_f32(a[i]) + f16_to_f32(b[i]))
                                                    : f32_to_bf16(bf16_to_f32(a[i]) + bf16_to_f32(b[i]));
      const auto widen = dtype == DType::f16 ? f16_to_f32 : bf16_to_f32;
      // Which of two NaNs' sign and payload survives an addition is the compiler's choice.
      const bool both_nan = std::isnan(widen(expected)) && std::isnan(widen(out[i]));
      wrong += out[i] != expected && !both_nan;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("halves are rounded once, not after each addition") {
  // 2048 + 1 + 1 in f16: each addition alone would round back to 2048.
  const uint16_t big = f32_to_f16(2048), one = f32_to_f16(1);
  uint16_t out = 0;
  const void* in[] = {&big, &one, &one};
  reduce(DType::f16, Reduce::sum, in, static_cast<void*>(&out), {.elements = 1});
  CHECK(f16_to_f32(out) == 2050);
}

TEST_CASE("a NaN wins in max and min wherever it stands, and infinities keep their kind") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (Reduce kind : {Reduce::max, Reduce::min})
    for (int place = 0; place < 3; ++place) {
      float values[3] = {1, -2, 3}, out = 0;
      values[place] = nan;
      const void* in[] = {&values[0], &values[1], &values[2]};
      reduce(DType::f32, kind, in, static_cast<void*>(&out), {.elements = 1});
      CHECK(std::isnan(out));
    }
  float a = -inf, b = 5, out = 0;
  const void* in[] = {&a, &b};
  reduce(DType::f32, Reduce::max, in, static_cast<void*>(&out), {.elements = 1});
  CHECK(out == 5);
  reduce(DType::f32, Reduce::sum, in, static_cast<void*>(&out), {.elements = 1});
  CHECK(out == -inf);
  b = inf;
  reduce(DType::f32, Reduce::sum, in, static_cast<void*>(&out), {.elements = 1});
  CHECK(std::isnan(out));
}

TEST_CASE("integer sums wrap") {
  const int32_t a = std::numeric_limits<int32_t>::max(), b = 1;
  int32_t out = 0;
  const void* in[] = {&a, &b};
  reduce(DType::i32, Reduce::sum, in, static_cast<void*>(&out), {.elements = 1});
  CHECK(out == std::numeric_limits<int32_t>::min());
}
