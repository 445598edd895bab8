// Ranks that are threads of one process: collectives on shared memory, in place where the call allows it.
#pragma once
#include <memory>
#include <string>

#include "runtime/comm/world.h"

namespace optp {

struct ThreadWorldOptions {
  double timeout_seconds = 300;  // a member that is later than this is named in everybody's error
  // How long a waiter spins before it sleeps, if every rank has a core; a wake-up costs several times as much.
  double spin_us = 20;
};

// All ranks are held here. Outlives the threads that use its communicators. After the first failure it is of no more
// use but to read records.
class ThreadWorld final : public World {
 public:
  explicit ThreadWorld(size_t size, ThreadWorldOptions options = {});
  ~ThreadWorld() override;
  size_t size() const override { return held_.size(); }
  llvm::ArrayRef<size_t> held() const override { return held_; }
  Communicator& communicator(size_t rank) override;
  void abort(llvm::StringRef message) override;
  std::string flight_record() const override;

 private:
  llvm::Expected<PerRank<std::string>> gather_bytes(PerRank<std::string> own) override { return own; }
  llvm::Expected<std::string> broadcast_bytes(std::string roots) override { return roots; }
  struct State;
  std::unique_ptr<State> state_;
  std::vector<size_t> held_;
};
llvm::Expected<std::unique_ptr<World>> make_thread_world(llvm::Expected<size_t> ranks);

}  // namespace optp
