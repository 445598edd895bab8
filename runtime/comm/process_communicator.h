// A rank's end of collectives where ranks are held by several processes: letters there and back, and the arithmetic of
// one process. Every member adds in the group's order, so the bytes are those of threads.
#pragma once
#include <memory>

#include "runtime/comm/communicator.h"
#include "runtime/comm/flight_recorder.h"
#include "runtime/comm/mail.h"
#include "runtime/comm/peer_memory.h"

namespace optp {

class ProcessCommunicator final : public Communicator {
 public:
  // `first_rank`: of each process, and one more for the end. All but the rank outlive it.
  ProcessCommunicator(Mail& mail, const PeerMemory& peers, llvm::ArrayRef<size_t> first_rank, int rank)
      : mail_(mail), peers_(peers), first_rank_(first_rank), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return int(first_rank_.back()); }
  llvm::Error run(const CollectiveCall& call, const void* in, void* out) override;
  void abort(llvm::StringRef message) override { mail_.fail("rank " + llvm::Twine(rank_) + " failed: " + message); }
  std::string flight_record() const override { return recorder_.text(); }
  std::string last() const { return recorder_.last(); }

 private:
  // A group that this rank has met in.
  struct Group {
    llvm::SmallVector<int, 8> ranks;
    int index = 0;  // this rank's
    uint64_t hash = 0, turn = 0;
    bool reads = false;  // its members' processes read each other's memory
  };
  struct Meeting;
  llvm::Expected<Group*> find(llvm::ArrayRef<int> ranks);
  llvm::Error own_fault(llvm::Error fault);
  int process_of(int rank) const;

  Mail& mail_;
  const PeerMemory& peers_;
  const llvm::ArrayRef<size_t> first_rank_;
  const int rank_;
  FlightRecorder recorder_;
  std::vector<std::unique_ptr<Group>> groups_;
};

}  // namespace optp
