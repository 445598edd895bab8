// Who sleeps for whom: ranks that wait for each other in different groups will wait for ever, and are found at once.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "llvm/ADT/SmallVector.h"
#include "runtime/comm/meeting.h"

namespace optp {

class WaitTable {
 public:
  explicit WaitTable(int size) : size_(size), waits_(new Wait[size]) {}
  // The rank sleeps until all of the meeting have made this progress.
  void enter(int rank, Meeting& meeting, uint64_t progress);
  void leave(int rank);
  // The ranks of a cycle of waits through `rank`, which is entered; empty if there is none.
  llvm::SmallVector<int, 8> cycle(int rank) const;

 private:
  struct Wait {
    std::atomic<Meeting*> meeting{nullptr};
    std::atomic<uint64_t> progress{0};
    std::atomic<uint64_t> version{0};
  };
  bool waits_for(int rank, int other) const;

  const int size_;
  const std::unique_ptr<Wait[]> waits_;
};

}  // namespace optp
