// Ranks that several processes hold, each an even block of them, joined by a transport.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/comm/mail.h"
#include "runtime/comm/peer_memory.h"
#include "runtime/comm/world.h"

namespace optp {

class ProcessWorld final : public World {
 public:
  // The number of processes divides that of ranks. Mail outlives it.
  ProcessWorld(Mail& mail, size_t ranks, PeerMemory peers = {});
  ~ProcessWorld() override;
  size_t size() const override { return first_rank_.back(); }
  llvm::ArrayRef<size_t> held() const override { return held_; }
  Communicator& communicator(size_t rank) override;
  void abort(llvm::StringRef message) override { mail_.fail(message); }
  std::string flight_record() const override;
  bool overlaps() const override;

 private:
  llvm::Expected<PerRank<std::string>> gather_bytes(PerRank<std::string> own) override;
  llvm::Expected<std::string> broadcast_bytes(std::string roots) override;
  struct State;
  Mail& mail_;
  std::vector<size_t> first_rank_, held_;
  std::unique_ptr<State> state_;
  uint64_t round_ = 0;
};

// What must be the same on all processes before they begin: a name and a value each.
using Facts = std::vector<std::pair<std::string, std::string>>;
// Together. A process that failed before says so, and all end with that.
llvm::Expected<std::unique_ptr<World>> make_process_world(Mail& mail, llvm::Expected<size_t> ranks, const Facts& facts);

}  // namespace optp
