// One call of a collective as transports see it: with numbers for dims. All members must agree on all of it.
#pragma once
#include <cstdint>
#include <string>

#include "frontend/ir/collective.h"
#include "llvm/ADT/SmallVector.h"

namespace optp {

struct Call {
  Collective kind = Collective::barrier;
  std::string id;  // the same on all members: what messages and the flight record name
  DType dtype = DType::undefined;
  // The shape as a rank would see it if the group were one rank: whole along the axes that the collective cuts or
  // joins. It gives every extent; those of one member follow from the chunk rule, so uneven and empty ones are exact.
  llvm::SmallVector<int64_t, 6> dims;
  Reduce reduce = Reduce::none;
  int cut_axis = -1, join_axis = -1;
};
Call bound(const CollectiveCall& call);  // its dims are numbers

// Equal for equal calls, and (but for one pair in 2^64) only for them.
uint64_t fingerprint(const Call& call);
// "all_reduce 'layer0.out' (sum) f32[1, 128, 768]"
std::string describe(const Call& call);
// "kind and shape": what two calls disagree on.
std::string differences(const Call& a, const Call& b);
// "{0, 1}"
std::string print_group(llvm::ArrayRef<int> group);
// Our own mistakes, found before anybody is waited for: axes, dtype, extents.
llvm::Error check(const Call& call);
// The group lists ranks of the world once each, and `rank` among them.
llvm::Error check_group(llvm::ArrayRef<int> group, int rank, int world_size);

// The extents around one axis: [outer, total, inner].
struct Around {
  int64_t outer = 1, total = 1, inner = 1;
};
Around around(llvm::ArrayRef<int64_t> dims, int axis);

// What the member brings to the collective; no member brings more than the first one.
int64_t input_bytes(const Call& call, int members, int member);

}  // namespace optp
