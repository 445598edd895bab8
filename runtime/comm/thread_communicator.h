// Ranks that are threads of one process: collectives on shared memory, in place where the call allows it.
#pragma once
#include <memory>
#include <string>

#include "runtime/comm/communicator.h"

namespace optp {

struct ThreadWorldOptions {
  double timeout_seconds = 300;  // a member that is later than this is named in everybody's error
  // How long a waiter spins before it sleeps, if every rank has a core; a wake-up costs several times as much.
  double spin_us = 20;
};

// Outlives the threads that use its communicators. After the first failure it is of no more use but to read records.
class ThreadWorld {
 public:
  explicit ThreadWorld(int size, ThreadWorldOptions options = {});
  ~ThreadWorld();
  int size() const;
  Communicator& communicator(int rank);  // for one thread
  // From any thread: all ranks return with this message from the collective they are in, or from their next one.
  void abort(llvm::StringRef message);
  std::string flight_record() const;  // of all ranks; at any time

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace optp
