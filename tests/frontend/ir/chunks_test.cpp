#include <doctest/doctest.h>

#include "frontend/ir/mesh.h"

using namespace optp;

TEST_CASE("chunks are balanced, in order and cover everything once") {
  CHECK(chunk_size(50257, 2, 0) == 25129);
  CHECK(chunk_size(50257, 2, 1) == 25128);
  CHECK(chunk_start(50257, 2, 1) == 25129);
  const int heads[] = {3, 3, 2, 2, 2};
  for (int i = 0; i < 5; ++i) CHECK(chunk_size(12, 5, i) == heads[i]);
  for (int64_t n = 0; n <= 40; ++n)
    for (int64_t k = 1; k <= 12; ++k) {
      int64_t at = 0;
      for (int64_t i = 0; i < k; ++i) {
        REQUIRE(chunk_start(n, k, i) == at);
        REQUIRE((chunk_size(n, k, i) == 0) == (i >= n));  // empty only if n < k, and then the last ones
        at += chunk_size(n, k, i);
      }
      REQUIRE(at == n);
    }
}
