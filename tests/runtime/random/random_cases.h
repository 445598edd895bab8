// How many random cases a run makes, from which seed: OPTP_CASES and OPTP_SEED in the environment, else a few hundred
// of a fixed one. What was covered is printed, so that a property that tests nothing is seen.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace optp {

inline int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::atoll(text) : otherwise;
}
inline int64_t random_cases(int64_t otherwise) { return from_environment("OPTP_CASES", otherwise); }
inline uint32_t random_seed() { return uint32_t(from_environment("OPTP_SEED", 404)); }

class Covered {
 public:
  explicit Covered(std::string title) : title_(std::move(title)) {}
  ~Covered() {
    std::printf("%s, seed %u:", title_.c_str(), random_seed());
    for (const auto& [what, count] : counts_) std::printf(" %s %lld;", what.c_str(), static_cast<long long>(count));
    std::printf("\n");
  }
  void count(const std::string& what, int64_t by = 1) { counts_[what] += by; }
  int64_t of(const std::string& what) const {
    auto it = counts_.find(what);
    return it == counts_.end() ? 0 : it->second;
  }

 private:
  std::string title_;
  std::map<std::string, int64_t> counts_;
};

}  // namespace optp
