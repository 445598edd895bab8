// What a rank did last: a ring of its collectives, always on, printed when something went wrong.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/comm/call.h"

namespace optp {

class FlightRecorder {
 public:
  static constexpr uint64_t capacity = 1024;
  enum class State : uint8_t { waiting, moving, completed, failed };
  struct Entry {
    uint64_t number = 0;  // counts this rank's collectives from 1; 0: never used
    CollectiveCall call;
    std::atomic<State> state{State::waiting};
  };

  // The next entry, taken from the oldest. Only the rank itself begins entries; it may read them without a lock, and
  // so may those who know that it waits inside of this one.
  Entry& begin(const CollectiveCall& call) {
    std::lock_guard lock(mutex_);
    Entry& entry = (*ring_)[count_ % capacity];
    entry.number = ++count_;
    entry.state.store(State::waiting, std::memory_order_relaxed);
    entry.call = call;
    return entry;
  }

  std::string last() const;  // "is in barrier 'b' over {0, 1}" or such, to be put after "rank 3 "
  std::string text() const;  // all entries, oldest first, a line each

 private:
  mutable std::mutex mutex_;
  uint64_t count_ = 0;
  std::unique_ptr<std::array<Entry, capacity>> ring_ = std::make_unique<std::array<Entry, capacity>>();
};

}  // namespace optp
