#include "runtime/comm/failure_text.h"

#include <cstdio>

#include "llvm/ADT/Twine.h"

namespace optp {

std::string print_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds);
  return text;
}

std::string print_diverged(llvm::ArrayRef<int> group, uint64_t turn, int a, const CollectiveCall& call_of_a, int b,
                           const CollectiveCall& call_of_b) {
  const std::string first = std::to_string(group[a]), second = std::to_string(group[b]);
  return "ranks " + first + " and " + second + " of group " + print_group(group) + " diverged at its collective " +
         std::to_string(turn) + ": different " + differences(call_of_a, call_of_b) + ": rank " + first + " runs " +
         describe(call_of_a) + ", rank " + second + " runs " + describe(call_of_b);
}

std::string print_late(const CollectiveCall& call, llvm::ArrayRef<int> missing, double seconds) {
  return describe(call) + " over " + print_group(call.group) + ": rank" +
         (missing.size() > 1 ? "s " + print_group(missing) : " " + std::to_string(missing[0])) +
         " did not come within " + print_seconds(seconds) + " s";
}

}  // namespace optp
