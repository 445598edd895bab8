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

llvm::Expected<std::vector<HostArrays>> execute(llvm::ArrayRef<const Graph*> ranks, llvm::ArrayRef<HostArrays> inputs,
                                                const ExecutionOptions& options) {
  RankThreadsOptions threads;
  threads.threads_per_device = threads_for(int64_t(ranks.size()), options.threads_per_device);
  threads.executable.fuse = options.fuse;
  threads.executable.profile = options.trace != nullptr;
  auto world = RankThreads::create(ranks, threads);
  if (!world) return world.takeError();
  if (options.slow) options.slow->add(**world);
  std::vector<HostInputs> in;
  for (const HostArrays& each : inputs) in.push_back(inputs_of(each));
  std::vector<HostArrays> out;
  if (auto e = (*world)->run(in, out)) return e;
  if (options.trace) options.trace->add("run", **world);
  return out;
}
}  // namespace optp
