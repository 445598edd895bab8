// The inputs, outputs and data of rank graphs, cut and put together as a plan says: docs/plan-schema.md, sections 4, 5
// and 9.
#pragma once
#include "frontend/ir/host_array.h"
#include "passes/plan/plan.h"

namespace optp {

using Port = Plan::Port;

llvm::Expected<Shard> shard_of(const Port& port, size_t rank, const DimValues& dims);
// Does a rank before this one hold the same elements?
bool is_copy(const Port& port, size_t rank);
// The ranks' shards put together; of those that hold the same the first one's is taken.
llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part);
// Which elements of which whole tensor a rank's initializer of this name has.
llvm::Expected<Shard> data_shard(const Plan& plan, llvm::StringRef name, size_t rank);

}  // namespace optp
