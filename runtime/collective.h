// A collective node as a step: its call, and what of it needs no other rank.
#pragma once
#include "frontend/ir/collective.h"
#include "llvm/Support/Error.h"

namespace optp {

class Communicator;

// What the ranks need of a node's call.
llvm::Expected<CollectiveCall> collective_step(const Node& node);
bool in_place(const CollectiveCall& call);  // may `in` and `out` be the same buffer?
llvm::Error communicate(Communicator* communicator, const CollectiveCall& call, const void* in, void* out,
                        int64_t in_bytes);

}  // namespace optp
