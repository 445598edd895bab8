// Megatron-LM's tensor parallelism (arXiv:1909.08053 section 3): the vocabulary, attention heads and the MLP's inner
// dim, so that each block has one all-reduce after attention and one after the MLP.
#include "passes/strategy.h"

namespace optp {
namespace {
std::string seed(Seeding& s) {
  const auto chosen = s.recogniser.chosen([](const Candidate&) { return true; });
  for (Factors::Class c : chosen) s.split(c, s.recogniser.what_is(c));
  return chosen.empty() ? s.recogniser.nearly_matched() : "";
}
const RegisteredStrategy megatron({
    .name = "megatron",
    .summary = "vocabulary, attention heads and the MLP's inner dim; two all-reduces per layer",
    .seed = seed,
});
}  // namespace
}  // namespace optp
