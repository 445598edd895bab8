// Half precision against Eigen's conversions.
#include "frontend/ir/half.h"

#include <doctest/doctest.h>

#include <Eigen/Core>
#include <cmath>

using namespace optp;

namespace {
template <typename Half, typename Reference>
void compare() {
  int64_t wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float own = Half::load(uint16_t(bits)), expected = float(Eigen::numext::bit_cast<Reference>(uint16_t(bits)));
    wrong +=
        std::isnan(expected) ? !std::isnan(own) : std::bit_cast<uint32_t>(own) != std::bit_cast<uint32_t>(expected);
  }
  CHECK(wrong == 0);
  // Floats with every sign and exponent, and mantissas around all places where rounding turns.
  for (uint32_t high = 0; high < 0x10000; ++high)
    for (const uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x1fffu, 0x2000u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u,
                               0xefffu, 0xf000u, 0xf001u, 0xffffu}) {
      const float value = std::bit_cast<float>(high << 16 | low);
      const uint16_t own = Half::store(value), expected = Eigen::numext::bit_cast<uint16_t>(Reference(value));
      wrong += std::isnan(value) ? !std::isnan(Half::load(own)) : own != expected;
    }
  CHECK(wrong == 0);
}
}  // namespace

TEST_CASE("float16 is widened and rounded as by Eigen") { compare<F16, Eigen::half>(); }
TEST_CASE("bfloat16 is widened and rounded as by Eigen") { compare<Bf16, Eigen::bfloat16>(); }
