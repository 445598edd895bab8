#include "tools/run/execution.h"

#include <thread>

#include "runtime/run_ranks.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/trace.h"

namespace optp {

int threads_for(int64_t devices, int64_t asked) {
  if (asked > 0) return int(asked);
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  return std::max(1, int(cores / unsigned(devices)));
}

PerRank<HostInputs> inputs_of(const PerRank<HostArrays>& arrays) {
  PerRank<HostInputs> out(arrays.ranks());
  for (const size_t r : arrays.ranks()) out[r] = inputs_of(arrays[r]);
  return out;
}

llvm::Expected<PerRank<HostArrays>> execute(World& world, const PerRank<const Graph*>& ranks,
                                            const PerRank<HostArrays>& inputs, const ExecutionOptions& options) {
  RankThreadsOptions threads;
  threads.threads_per_device = threads_for(int64_t(world.size()), options.threads_per_device);
  threads.executable.fuse = options.fuse;
  threads.unread = options.unread;
  threads.executable.profile = options.trace != nullptr;
  auto running = RankThreads::create(world, ranks, threads);
  if (!running) return running.takeError();
  if (options.slow) options.slow->add(**running);
  PerRank<HostArrays> out;
  if (auto e = (*running)->run(inputs_of(inputs), out)) return e;
  if (options.trace) options.trace->add("run", **running);
  return out;
}
}  // namespace optp
