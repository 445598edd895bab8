// The functions that kernels vectorise, against the C library in float64: the bounds that vector.h states.
#include "runtime/kernels/vector.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace {
// The largest error in units of the last place of the right result, over floats of all exponents and both signs.
template <typename Own, typename Right>
double worst_ulps(Own own, Right right) {
  double worst = 0;
  int64_t wrong_ends = 0;
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 4099) {  // a prime: all mantissas' low bits occur
    const float x = std::bit_cast<float>(uint32_t(bits));
    if (std::isnan(x)) continue;
    const double expected = right(double(x));
    const float rounded = float(expected), found = own(x);
    if (std::isinf(rounded) || std::fabs(rounded) < std::numeric_limits<float>::min()) {
      // At the ends of the range: infinite where it should be, and zero for what is below the smallest normal number.
      if (found != rounded && !(std::fabs(double(found) - expected) < 1.18e-38)) ++wrong_ends;
      continue;
    }
    const double ulp = std::fabs(double(std::nextafter(rounded, INFINITY)) - double(rounded));
    worst = std::max(worst, std::fabs(double(found) - expected) / ulp);
  }
  CHECK(wrong_ends == 0);
  return worst;
}
}  // namespace

TEST_CASE("exp, tanh and erf are as exact as they say") {
  using namespace optp::kernels;
  CHECK(worst_ulps([](float x) { return exp_of(x); }, [](double x) { return std::exp(x); }) < 1.5);
  CHECK(worst_ulps([](float x) { return tanh_of(x); }, [](double x) { return std::tanh(x); }) < 1.5);
  CHECK(worst_ulps([](float x) { return erf_of(x); }, [](double x) { return std::erf(x); }) < 1.5);
}
TEST_CASE("not a number goes through exp, tanh and erf") {
  using namespace optp::kernels;
  CHECK(std::isnan(exp_of(NAN)));
  CHECK(std::isnan(tanh_of(NAN)));
  CHECK(std::isnan(erf_of(NAN)));
}
