// Moving a value from one sharding to another: collectives where data must travel, local slices where it is there
// already.
#pragma once
#include "frontend/ir/builder.h"
#include "frontend/ir/sharding.h"

namespace optp {
// `value` is held as `from` (its local type); the result is held as `to`. New values are named after it, with a suffix.
// reason: for the plan.
llvm::Expected<Value*> reshard(Builder& build, Value& value, llvm::ArrayRef<Dim> global, const Sharding& from,
                               const Sharding& to, llvm::StringRef reason);
}  // namespace optp
