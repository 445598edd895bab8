#include "runtime/comm/flight_recorder.h"

#include <algorithm>

#include "llvm/ADT/Twine.h"

namespace optp {
namespace {

const char* to_string(FlightRecorder::State state) {
  switch (state) {
    case FlightRecorder::State::waiting:
      return "waiting";
    case FlightRecorder::State::moving:
      return "moving";
    case FlightRecorder::State::completed:
      return "completed";
    case FlightRecorder::State::failed:
      return "failed";
  }
  return "";
}

std::string print(const FlightRecorder::Entry& entry) {
  return describe(entry.call) + " over " + print_group(entry.call.group);
}

}  // namespace

std::string FlightRecorder::last() const {
  std::lock_guard lock(mutex_);
  if (count_ == 0) return "has begun no collective";
  const Entry& entry = (*ring_)[(count_ - 1) % capacity];
  switch (entry.state.load(std::memory_order_relaxed)) {
    case State::completed:
      return "is in none, its last was " + print(entry);
    case State::failed:
      return "failed in " + print(entry);
    default:
      return "is in " + print(entry);
  }
}

std::string FlightRecorder::text() const {
  std::lock_guard lock(mutex_);
  std::string out;
  for (uint64_t i = count_ - std::min(count_, capacity); i < count_; ++i) {
    const Entry& entry = (*ring_)[i % capacity];
    out += ("#" + llvm::Twine(entry.number) + " " + print(entry) + ": " +
            to_string(entry.state.load(std::memory_order_relaxed)) + "\n")
               .str();
  }
  return out;
}

}  // namespace optp
