// One call of a collective as every transport sees it: the stamp, owned, with the call's own arguments.
#pragma once
#include <cstdint>
#include <string>

#include "llvm/ADT/SmallVector.h"
#include "runtime/comm/communicator.h"

namespace optp {

struct Call {
  Collective kind = Collective::barrier;
  Reduce reduce = Reduce::sum;
  DType dtype = DType::undefined;
  int axis = -1;  // of all_gather and reduce_scatter; the split axis of all_to_all; the root of broadcast
  int concat_axis = -1;
  std::string id;
  llvm::SmallVector<int64_t, 6> dims;
};

// Equal for equal calls, and (but for one pair in 2^64) only for them.
uint64_t fingerprint(const Call& call);
// "all_reduce 'layer0.out' (sum) f32[1, 128, 768]"
std::string describe(const Call& call);
// "kind and shape": what two calls disagree on.
std::string differences(const Call& a, const Call& b);
// "{0, 1}"
std::string print_group(llvm::ArrayRef<int> group);
// Our own mistakes, found before anybody is waited for: axes, root, dtype, extents.
llvm::Error check(const Call& call, int members);
// The group lists ranks of the world once each, and `rank` among them.
llvm::Error check_group(llvm::ArrayRef<int> group, int rank, int world_size);

// The extents around one axis: [outer, total, inner].
struct Around {
  int64_t outer = 1, total = 1, inner = 1;
};
Around around(llvm::ArrayRef<int64_t> dims, int axis);
int64_t product(llvm::ArrayRef<int64_t> dims);

// What the member brings to the collective; no member brings more than the first one.
int64_t input_bytes(const Call& call, int members, int member);

}  // namespace optp
