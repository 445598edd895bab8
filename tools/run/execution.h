// Running rank graphs whose extents are numbers.
#pragma once
#include <vector>

#include "frontend/ir/graph.h"
#include "tools/run/inputs.h"

namespace optp {
class SlowNodes;
class Trace;

struct ExecutionOptions {
  int64_t threads_per_device = 0;  // 0: the cores shared out
  bool fuse = true;
  Trace* trace = nullptr;     // gets the run's timeline
  SlowNodes* slow = nullptr;  // gets what no kernel runs
};
int threads_for(int64_t devices, int64_t asked);  // asked, or the cores shared out
// One thread a device; outputs by name, for each rank.
llvm::Expected<std::vector<HostArrays>> execute(llvm::ArrayRef<const Graph*> ranks, llvm::ArrayRef<HostArrays> inputs,
                                                const ExecutionOptions& options);
}  // namespace optp
