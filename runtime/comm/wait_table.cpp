#include "runtime/comm/wait_table.h"

#include <algorithm>

#include "llvm/ADT/STLExtras.h"

namespace optp {

void WaitTable::enter(int rank, Meeting& meeting, uint64_t progress) {
  Wait& wait = waits_[rank];
  wait.version.fetch_add(1);
  wait.progress.store(progress);
  wait.meeting.store(&meeting);
}

void WaitTable::leave(int rank) {
  waits_[rank].meeting.store(nullptr);
  waits_[rank].version.fetch_add(1);
}

bool WaitTable::waits_for(int rank, int other) const {
  const Wait& wait = waits_[rank];
  Meeting* const meeting = wait.meeting.load();
  return meeting && llvm::is_contained(meeting->missing(wait.progress.load()), other);
}

llvm::SmallVector<int, 8> WaitTable::cycle(int rank) const {
  // Breadth first from `rank`, by the waits as each is seen.
  llvm::SmallVector<int, 8> from(size_, -1), reached = {rank};
  llvm::SmallVector<uint64_t, 8> version(size_, 0);
  int last = -1;
  for (size_t next = 0; next < reached.size() && last < 0; ++next) {
    const int waiter = reached[next];
    version[waiter] = waits_[waiter].version.load();
    Meeting* const meeting = waits_[waiter].meeting.load();
    if (!meeting) continue;
    for (int missing : meeting->missing(waits_[waiter].progress.load())) {
      if (missing == rank) last = waiter;
      if (missing == rank || llvm::is_contained(reached, missing)) continue;
      from[missing] = waiter;
      reached.push_back(missing);
    }
  }
  if (last < 0) return {};
  llvm::SmallVector<int, 8> ranks;
  for (int at = last; at >= 0; at = from[at]) ranks.push_back(at);
  std::reverse(ranks.begin(), ranks.end());
  // Seen at different times, the waits need not have been true at once. If they still are, and none of the ranks has
  // left its wait since, there was a moment when all were.
  for (size_t i = 0; i < ranks.size(); ++i)
    if (!waits_for(ranks[i], ranks[(i + 1) % ranks.size()])) return {};
  for (int waiter : ranks)
    if (waits_[waiter].version.load() != version[waiter]) return {};
  return ranks;
}

}  // namespace optp
