#include "runtime/comm/meeting.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace optp {
namespace {

// std::atomic::wait has no time limit, so Linux's own. Spurious returns are allowed.
void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, std::chrono::nanoseconds limit) {
  const timespec relative = {time_t(limit.count() / 1'000'000'000), long(limit.count() % 1'000'000'000)};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, &relative, nullptr, 0);
}
void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Meeting::Meeting(llvm::ArrayRef<int> group) : group_(group.begin(), group.end()), seats_(new Seat[group.size()]) {
  for (int member = 0; member < size(); ++member)
    for (Turn& turn : seats_[member].turns)
      turn.copy.reset(new std::byte[std::min(copy_bytes, all_copies_bytes / size())]);
}

void Meeting::arrive(Seat& seat) {
  ++seat.phase;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 != uint32_t(size())) return;
  arrived_.store(0, std::memory_order_relaxed);  // nobody arrives again before it has seen the next word
  word_.fetch_add(2, std::memory_order_seq_cst);
  // A sleeper counts itself, then looks at the word again: one of us sees the other.
  if (sleepers_.load(std::memory_order_seq_cst) != 0) futex_wake_all(word_);
}

Meeting::Outcome Meeting::outcome(uint32_t word, const Seat& seat) const {
  // The next arrival can't complete without this member, so the count is its phase or one less.
  if ((word >> 1) == (seat.phase & 0x7fffffff)) return Outcome::complete;
  return word & 1 ? Outcome::stopped : Outcome::late;
}

Meeting::Outcome Meeting::spin(const Seat& seat, std::chrono::nanoseconds limit) {
  Outcome now = outcome(word_.load(std::memory_order_acquire), seat);
  if (now != Outcome::late || limit.count() == 0) return now;
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      now = outcome(word_.load(std::memory_order_acquire), seat);
      if (now != Outcome::late) return now;
    }
  } while (std::chrono::steady_clock::now() < end);
  return Outcome::late;
}

Meeting::Outcome Meeting::sleep(const Seat& seat, std::chrono::nanoseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  Outcome result;
  while (true) {
    const uint32_t word = word_.load(std::memory_order_seq_cst);
    result = outcome(word, seat);
    const auto rest = end - std::chrono::steady_clock::now();
    if (result != Outcome::late || rest.count() <= 0) break;
    futex_wait(word_, word, rest);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

void Meeting::stop() {
  word_.fetch_or(1, std::memory_order_seq_cst);
  futex_wake_all(word_);
}

llvm::SmallVector<int, 8> Meeting::missing(uint64_t progress) const {
  llvm::SmallVector<int, 8> ranks;
  for (int member = 0; member < size(); ++member)
    if (seats_[member].progress.load(std::memory_order_seq_cst) < progress) ranks.push_back(group_[member]);
  return ranks;
}

}  // namespace optp
