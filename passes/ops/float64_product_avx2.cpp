// add_product with AVX2: Eigen once more, under another name, so that the linker does not mix its functions with those
// that run anywhere. What Eigen includes of the standard library comes before, compiled for any processor.
#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <type_traits>

#include "passes/ops/float64_product.h"

// Clang's attribute for a region does not tell Eigen of it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#ifdef _OPENMP
#include <omp.h>
#endif
#pragma GCC push_options
#pragma GCC target("avx2,fma")
// Eigen asks these, and g++ 12 does not define them for a region.
#ifndef __AVX2__
#define OPTP_SAYS_AVX2
#define __SSE3__ 1
#define __SSSE3__ 1
#define __SSE4_1__ 1
#define __SSE4_2__ 1
#define __AVX__ 1
#define __AVX2__ 1
#define __FMA__ 1
#endif
#define Eigen Eigen_avx2
#include <Eigen/Core>

namespace optp::ops {
namespace {
#include "passes/ops/float64_product_eigen.h"
}  // namespace
#undef Eigen
#ifdef OPTP_SAYS_AVX2
#undef __SSE3__
#undef __SSSE3__
#undef __SSE4_1__
#undef __SSE4_2__
#undef __AVX__
#undef __AVX2__
#undef __FMA__
#endif
#pragma GCC pop_options

bool add_product_by_avx2(const Float64Product& p) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
  add_by_eigen(p);
  return true;
}
}  // namespace optp::ops
#else
namespace optp::ops {
bool add_product_by_avx2(const Float64Product&) { return false; }
}  // namespace optp::ops
#endif
