// Running rank graphs whose extents are numbers.
#pragma once
#include "frontend/ir/graph.h"
#include "runtime/comm/world.h"
#include "runtime/executable.h"
#include "tools/run/inputs.h"

namespace optp {
class SlowNodes;
class Trace;

struct ExecutionOptions {
  int64_t threads_per_device = 0;  // 0: the cores shared out
  bool fuse = true;
  const PerRank<llvm::StringSet<>>* unread = nullptr;  // outputs that nobody reads, of each held rank
  Trace* trace = nullptr;                              // gets the run's timeline
  SlowNodes* slow = nullptr;                           // gets what no kernel runs
};
int threads_for(int64_t devices, int64_t asked);  // asked, or the cores shared out
// Of the ranks that the world holds, one thread a device; outputs by name.
llvm::Expected<PerRank<HostArrays>> execute(World& world, const PerRank<const Graph*>& ranks,
                                            const PerRank<HostArrays>& inputs, const ExecutionOptions& options);
PerRank<HostInputs> inputs_of(const PerRank<HostArrays>& arrays);  // they must outlive it
template <typename G>
PerRank<const Graph*> pointers_to(const PerRank<std::unique_ptr<G>>& graphs) {
  PerRank<const Graph*> out(graphs.ranks());
  for (const size_t r : graphs.ranks()) out[r] = graphs[r].get();
  return out;
}
}  // namespace optp
