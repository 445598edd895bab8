#include "tools/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace optp {
namespace {
// The order of Hugging Face's generate: temperature, top-k, top-p.
struct Choice {
  std::vector<int64_t> tokens;  // the most likely first
  std::vector<double> weights;
};
Choice choice_of(llvm::ArrayRef<double> logits, const SamplingOptions& o) {
  Choice c;
  c.tokens.resize(logits.size());
  std::iota(c.tokens.begin(), c.tokens.end(), 0);
  std::stable_sort(c.tokens.begin(), c.tokens.end(),
                   [&](int64_t a, int64_t b) { return logits[size_t(a)] > logits[size_t(b)]; });
  if (o.top_k > 0 && size_t(o.top_k) < c.tokens.size()) c.tokens.resize(size_t(o.top_k));
  const double most = logits[size_t(c.tokens[0])];
  double sum = 0;
  for (int64_t t : c.tokens) sum += c.weights.emplace_back(std::exp((logits[size_t(t)] - most) / o.temperature));
  // The token that reaches the share is still one of them.
  double share = 0;
  size_t kept = 0;
  while (kept < c.tokens.size() && share < o.top_p * sum) share += c.weights[kept++];
  kept = std::max<size_t>(kept, 1);
  c.tokens.resize(kept), c.weights.resize(kept);
  return c;
}
}  // namespace

int64_t next_token(llvm::ArrayRef<double> logits, const SamplingOptions& o, int64_t row, int64_t place) {
  if (!o.sample) return std::max_element(logits.begin(), logits.end()) - logits.begin();
  const Choice c = choice_of(logits, o);
  std::seed_seq seeds{uint32_t(o.seed), uint32_t(o.seed >> 32), uint32_t(row), uint32_t(place)};
  std::mt19937_64 random(seeds);
  // 53 random bits as a fraction: what std::uniform_real_distribution gives differs between libraries.
  double rest = double(random() >> 11) * 0x1p-53 * std::accumulate(c.weights.begin(), c.weights.end(), 0.0);
  for (size_t k = 0; k < c.tokens.size(); ++k)
    if ((rest -= c.weights[k]) < 0) return c.tokens[k];
  return c.tokens.back();
}
}  // namespace optp
