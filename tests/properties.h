// What holds of all cases, tried on random ones. RapidCheck shrinks a case that fails, and prints it with its seed; the
// seed is fixed, so that a run can be repeated: RC_PARAMS="seed=5 max_success=100000" asks for others.
#pragma once
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdlib>

namespace optp {
template <typename Testable>
void check_property(const char* sentence, Testable&& testable) {
  setenv("RC_PARAMS", "seed=404 max_success=500", /*overwrite=*/0);
  CHECK(rc::check(sentence, std::forward<Testable>(testable)));
}
}  // namespace optp
