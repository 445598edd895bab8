#include "runtime/comm/chunks.h"

#include <doctest/doctest.h>

using namespace optp;

TEST_CASE("chunks are balanced, in order and cover everything once") {
  CHECK(chunks::size(50257, 2, 0) == 25129);
  CHECK(chunks::size(50257, 2, 1) == 25128);
  CHECK(chunks::start(50257, 2, 1) == 25129);
  const int heads[] = {3, 3, 2, 2, 2};
  for (int i = 0; i < 5; ++i) CHECK(chunks::size(12, 5, i) == heads[i]);
  for (int64_t n = 0; n <= 40; ++n)
    for (int64_t k = 1; k <= 12; ++k) {
      int64_t at = 0;
      for (int64_t i = 0; i < k; ++i) {
        REQUIRE(chunks::start(n, k, i) == at);
        REQUIRE((chunks::size(n, k, i) == 0) == (i >= n));  // empty only if n < k, and then the last ones
        at += chunks::size(n, k, i);
      }
      REQUIRE(at == n);
    }
}
