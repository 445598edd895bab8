// The chunk rule "balanced": how n elements lie on k members, everywhere a dim is split.
#pragma once
#include <cstdint>

namespace optp::chunks {

// The first n mod k members get ⌈n/k⌉ elements, the others ⌊n/k⌋: a member is empty only if n < k.
constexpr int64_t size(int64_t n, int64_t k, int64_t i) { return n / k + (i < n % k ? 1 : 0); }
constexpr int64_t start(int64_t n, int64_t k, int64_t i) { return n / k * i + (i < n % k ? i : n % k); }

}  // namespace optp::chunks
