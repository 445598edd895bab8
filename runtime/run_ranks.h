// The ranks that a process holds: a thread each, with its own OpenMP team, kept from run to run.
#pragma once
#include <memory>

#include "runtime/comm/world.h"
#include "runtime/executable.h"

namespace optp {

struct RankThreadsOptions {
  int threads_per_device = 1;
  ExecutableOptions executable;  // threads, communicator, packed weights and unread outputs are set for each rank
  // Of each held rank, where others run the same weights; null: none do.
  const PerRank<std::shared_ptr<PackedWeights>>* packed = nullptr;
  // Of each held rank, the outputs that nobody reads there; null: all are read.
  const PerRank<llvm::StringSet<>>* unread = nullptr;
};

class RankThreads {
 public:
  // `graphs`: of the ranks that the world holds. Each is compiled in the rank's own thread. World and graphs must
  // outlive this; of several on one world one runs at a time.
  static llvm::Expected<std::unique_ptr<RankThreads>> create(World& world, const PerRank<const Graph*>& graphs,
                                                             const RankThreadsOptions& options = {});
  ~RankThreads();

  // inputs: each rank's own. An error in one rank ends the others and is the one returned; nothing runs after it.
  llvm::Error run(const PerRank<HostInputs>& inputs, PerRank<HostArrays>& outputs);

  llvm::ArrayRef<size_t> ranks() const;
  const Executable& executable(size_t rank) const;

 private:
  RankThreads();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace optp
