// How failures of collectives read, the same for every transport.
#pragma once
#include <cstdint>
#include <string>

#include "llvm/ADT/ArrayRef.h"
#include "runtime/comm/call.h"

namespace optp {

std::string print_seconds(double seconds);  // "0.2", "300"
// Members `a` and `b` came to the group's collective `turn` (counted from 1) with different calls.
std::string print_diverged(llvm::ArrayRef<int> group, uint64_t turn, int a, const CollectiveCall& call_of_a, int b,
                           const CollectiveCall& call_of_b);
// "all_reduce 'x' (sum) f32[2] over {0, 1}: rank 1 did not come within 300 s"
std::string print_late(const CollectiveCall& call, llvm::ArrayRef<int> missing, double seconds);

}  // namespace optp
