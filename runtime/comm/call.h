// What transports need of a call of a collective. Its dims are numbers, and the members agree on all but their rank.
#pragma once
#include <cstdint>
#include <string>

#include "frontend/ir/collective.h"
#include "frontend/ir/shard.h"
#include "llvm/ADT/SmallVector.h"

namespace optp {

// The shape as a rank would see it if the group were one rank: whole along the axes that the collective cuts or joins.
// It gives every extent; those of one member follow from the chunk rule, so uneven and empty ones are exact. A dim that
// is no number is -1.
Extents extents(const CollectiveCall& call);

// Equal for equal calls, and (but for one pair in 2^64) only for them. Of a group all calls are compared, so it is not
// part of it.
uint64_t fingerprint(const CollectiveCall& call);
// "all_reduce 'layer0.out' (sum) f32[1, 128, 768]"
std::string describe(const CollectiveCall& call);
// "kind and shape": what two calls disagree on.
std::string differences(const CollectiveCall& a, const CollectiveCall& b);
// "{0, 1}"
std::string print_group(llvm::ArrayRef<int> group);
// Our own mistakes, found before anybody is waited for: axes, dtype, extents.
llvm::Error check(const CollectiveCall& call);
// The group lists ranks of the world once each, and `rank` among them.
llvm::Error check_group(llvm::ArrayRef<int> group, int rank, int world_size);

// The extents around one axis: [outer, total, inner].
struct Around {
  int64_t outer = 1, total = 1, inner = 1;
};
Around around(llvm::ArrayRef<int64_t> dims, int axis);

// What the member brings to the collective; no member brings more than the first one.
int64_t input_bytes(const CollectiveCall& call, int members, int member);

}  // namespace optp
