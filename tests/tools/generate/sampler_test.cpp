// Tokens are drawn as often as the model says, after temperature, top-k and top-p.
#include "tools/generate/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

using namespace optp;

namespace {
constexpr int64_t draws = 20000;
std::map<int64_t, double> frequencies(llvm::ArrayRef<double> logits, SamplingOptions o) {
  o.sample = true, o.seed = 7;
  std::map<int64_t, double> out;
  for (int64_t place = 0; place < draws; ++place) out[next_token(logits, o, /*row=*/0, place)] += 1.0 / draws;
  return out;
}
// Six standard deviations of a frequency of so many draws are below 6 · √(1/4 / draws).
const double near = 6 * std::sqrt(0.25 / draws);
// Logits of 0.1, 0.2, 0.3 and 0.4 of the likelihood, in no order.
const std::vector<double> logits = {std::log(0.3), std::log(0.1), std::log(0.4), std::log(0.2)};

void check_frequencies(const SamplingOptions& o, const std::map<int64_t, double>& expected) {
  const auto found = frequencies(logits, o);
  CHECK(found.size() == expected.size());
  for (const auto& [token, share] : expected) {
    CAPTURE(token);
    REQUIRE(found.contains(token));
    CHECK(std::fabs(found.at(token) - share) < near);
  }
}
}  // namespace

TEST_CASE("without sampling the largest logit is taken, of equal ones the first") {
  CHECK(next_token(logits, {}, 0, 0) == 2);
  CHECK(next_token(std::vector<double>{1, 5, 5, 2}, {}, 3, 9) == 1);
  CHECK(next_token(std::vector<double>{-1}, {}, 0, 0) == 0);
}

TEST_CASE("tokens are drawn by their likelihood") { check_frequencies({}, {{0, 0.3}, {1, 0.1}, {2, 0.4}, {3, 0.2}}); }

TEST_CASE("a temperature divides logits: likelihoods are taken to its inverse's power") {
  const double sum = 0.01 + 0.04 + 0.09 + 0.16;
  check_frequencies({.temperature = 0.5}, {{0, 0.09 / sum}, {1, 0.01 / sum}, {2, 0.16 / sum}, {3, 0.04 / sum}});
}

TEST_CASE("of top-k only the most likely are drawn, by what they have of their own sum") {
  check_frequencies({.top_k = 2}, {{2, 4.0 / 7}, {0, 3.0 / 7}});
  check_frequencies({.top_k = 1}, {{2, 1}});
  check_frequencies({.top_k = 9}, {{0, 0.3}, {1, 0.1}, {2, 0.4}, {3, 0.2}});
}

TEST_CASE("of top-p the fewest are drawn that have the share, with the one that reaches it") {
  check_frequencies({.top_p = 0.6}, {{2, 4.0 / 7}, {0, 3.0 / 7}});
  check_frequencies({.top_p = 0.8}, {{2, 4.0 / 9}, {0, 3.0 / 9}, {3, 2.0 / 9}});
  check_frequencies({.top_p = 1e-9}, {{2, 1}});
}

TEST_CASE("top-p is of what top-k left") {
  // Of 4/7 and 3/7 the first alone has half.
  check_frequencies({.top_k = 2, .top_p = 0.5}, {{2, 1}});
}

TEST_CASE("what is drawn depends on seed, row and place, and on nothing else") {
  const std::vector<double> even(1000, 0.0);
  SamplingOptions o{.sample = true, .seed = 1};
  const int64_t token = next_token(even, o, 2, 3);
  CHECK(next_token(even, o, 2, 3) == token);
  CHECK(next_token(even, o, 3, 2) != token);
  CHECK(next_token(even, o, 2, 4) != token);
  o.seed = 1 + (uint64_t(1) << 40);
  CHECK(next_token(even, o, 2, 3) != token);
}
