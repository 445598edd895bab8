// Where the threads of one group meet, collective after collective: a seat for each member, a barrier for all.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "runtime/comm/call.h"

namespace optp {

class Meeting {
 public:
  // A collective with small inputs is met once, not twice: every member leaves a copy of its input at its seat, and
  // nobody has to stay until the others have read it. The limits are where an all-reduce of two spinning members (per
  // copy) and of eight sleeping ones (all copies) became faster with two meetings and no copies.
  static constexpr int64_t copy_bytes = 8 * 1024, all_copies_bytes = 64 * 1024;

  // What a member lays open on entering a collective. Two of them, used in turn: a member can begin collective t + 2
  // only after all have come to t + 1, so after all have done with what it laid open for t.
  struct Turn {
    uint64_t fingerprint = 0;
    const CollectiveCall* call = nullptr;
    const void* in = nullptr;
    void* out = nullptr;
    std::unique_ptr<std::byte[]> copy;
  };
  struct alignas(64) Seat {
    // 2t: has come to collective t (counted from 1) of this group; 2t + 1: has done with the others' buffers.
    std::atomic<uint64_t> progress{0};
    std::atomic<bool> busy{false};  // reads or writes others' buffers
    Turn turns[2];
    // The member's own.
    alignas(64) uint64_t turn = 0;
    uint32_t phase = 0;
  };

  explicit Meeting(llvm::ArrayRef<int> group);
  llvm::ArrayRef<int> group() const { return group_; }
  int size() const { return int(group_.size()); }
  Seat& seat(int member) { return seats_[member]; }
  bool copies(int64_t input_bytes) const { return input_bytes <= std::min(copy_bytes, all_copies_bytes / size()); }

  // A barrier in two halves. Everything a member did before its arrive() is seen by all after their wait.
  void arrive(Seat& seat);
  enum class Outcome { complete, stopped, late };
  Outcome spin(const Seat& seat, std::chrono::nanoseconds limit);
  Outcome sleep(const Seat& seat, std::chrono::nanoseconds limit);
  void stop();  // whoever waits, now or later, for an arrival that is not complete yet gets `stopped`

  // Ranks whose progress is less.
  llvm::SmallVector<int, 8> missing(uint64_t progress) const;

 private:
  Outcome outcome(uint32_t word, const Seat& seat) const;

  const llvm::SmallVector<int, 8> group_;
  const std::unique_ptr<Seat[]> seats_;
  alignas(64) std::atomic<uint32_t> arrived_{0};
  std::atomic<uint32_t> sleepers_{0};
  alignas(64) std::atomic<uint32_t> word_{0};  // completed arrivals · 2 + stopped; what sleepers sleep on
};

}  // namespace optp
