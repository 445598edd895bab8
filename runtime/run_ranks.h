// All ranks of a mesh in one process: a thread each, with its own OpenMP team, kept from run to run.
#pragma once
#include <memory>
#include <vector>

#include "runtime/executable.h"

namespace optp {

struct RankThreadsOptions {
  int threads_per_device = 1;
  ExecutableOptions executable;  // threads and communicator are set for each rank
  double timeout_seconds = 300;  // of a collective
};

class RankThreads {
 public:
  // Each rank's graph is compiled in the rank's own thread; the graphs must outlive this.
  static llvm::Expected<std::unique_ptr<RankThreads>> create(llvm::ArrayRef<const Graph*> ranks,
                                                             const RankThreadsOptions& options = {});
  ~RankThreads();

  // inputs: each rank's own. An error in one rank ends the others and is the one returned; nothing runs after it.
  llvm::Error run(llvm::ArrayRef<HostInputs> inputs, std::vector<HostArrays>& outputs);

  size_t size() const;
  const Executable& executable(size_t rank) const;
  std::string flight_record() const;  // the last collectives of all ranks

 private:
  RankThreads();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace optp
