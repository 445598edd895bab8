// A collective node as a step: its call, and what of it needs no other rank.
#pragma once
#include "runtime/comm/call.h"

namespace optp {

class Communicator;

struct CollectiveStep {
  Call call;
  llvm::SmallVector<int, 8> group;
};
llvm::Expected<CollectiveStep> collective_step(const Node& node);
bool in_place(const CollectiveStep& step);  // may `in` and `out` be the same buffer?
llvm::Error communicate(Communicator* communicator, const CollectiveStep& step, const void* in, void* out,
                        int64_t in_bytes);

}  // namespace optp
