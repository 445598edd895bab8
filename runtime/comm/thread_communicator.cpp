// A collective here is: lay open where this member's buffers are, meet, move, and, unless the inputs were copied, meet
// again so that nobody's buffers go away under the others.
//
// An all-reduce of n bytes by k members: member i combines chunk i of all inputs and writes the result to all outputs.
// Nobody else touches chunk i of anything, so it works in place with no scratch, reads n and writes n bytes a member,
// and all get the same bytes. Small ones are combined by every member for itself, from the copies, in the same order.
#include "runtime/comm/thread_communicator.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Threading.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/comm/failure_text.h"
#include "runtime/comm/flight_recorder.h"
#include "runtime/comm/meeting.h"
#include "runtime/comm/move.h"
#include "runtime/comm/reduce.h"
#include "runtime/comm/wait_table.h"

namespace optp {
namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

Nanoseconds nanoseconds(double seconds) { return Nanoseconds(int64_t(seconds * 1e9)); }

// What the ranks of a world share.
struct Shared {
  Shared(size_t size, ThreadWorldOptions options) : options(options), waits(int(size)), recorders(size) {
    timeout = nanoseconds(options.timeout_seconds);
    // More ranks than cores: spinning would keep the awaited one from running.
    spin = llvm::hardware_concurrency().compute_thread_count() >= unsigned(size) ? nanoseconds(options.spin_us * 1e-6)
                                                                                 : Nanoseconds(0);
  }

  Meeting* meeting(llvm::ArrayRef<int> group) {
    std::lock_guard lock(mutex);
    for (const auto& known : meetings)
      if (known->group() == group) return known.get();
    meetings.push_back(std::make_unique<Meeting>(group));
    if (failed) meetings.back()->stop();
    return meetings.back().get();
  }

  void fail(const llvm::Twine& text) {
    std::lock_guard lock(mutex);
    if (failed) return;  // the first one is the cause
    message = text.str();
    failed = true;
    for (const auto& meeting : meetings) meeting->stop();
  }
  llvm::Error failure() {
    std::lock_guard lock(mutex);
    return error(Code::rank_failed).what(message);
  }

  const ThreadWorldOptions options;
  Nanoseconds timeout, spin;
  std::atomic<bool> failed{false};
  WaitTable waits;
  std::vector<FlightRecorder> recorders;

 private:
  std::mutex mutex;
  std::string message;
  std::vector<std::unique_ptr<Meeting>> meetings;  // of the groups met so far: a few
};

// What a member sees of all when they have met.
struct Table {
  const CollectiveCall& call;
  const Extents& dims;
  Meeting& meeting;
  int members, index;
  bool copied;  // `in` is a copy of the input; `out` is only this member's own

  const void* in(int member) const { return turn(member).in; }
  void* out(int member) const { return turn(member).out; }
  llvm::SmallVector<const void*, 8> ins(int64_t offset_bytes) const {
    llvm::SmallVector<const void*, 8> pointers;
    for (int member = 0; member < members; ++member)
      pointers.push_back(static_cast<const char*>(in(member)) + offset_bytes);
    return pointers;
  }
  int64_t element_bytes() const { return size_bytes(call.dtype); }
  Chunking whole() const { return {dims, element_bytes(), members}; }

 private:
  const Meeting::Turn& turn(int member) const { return meeting.seat(member).turns[meeting.seat(index).turn & 1]; }
};

// What each member moves, having met.
void move_all_reduce(const Table& all) {
  const int64_t elements = count_of(all.dims);
  if (elements == 0) return;
  const int64_t start = all.copied ? 0 : chunk_start(elements, all.members, all.index);
  const int64_t count = all.copied ? elements : chunk_size(elements, all.members, all.index);
  llvm::SmallVector<void*, 8> outs;
  for (int member = 0; member < all.members; ++member)
    if (!all.copied || member == all.index)
      outs.push_back(static_cast<char*>(all.out(member)) + start * all.element_bytes());
  reduce(all.call.dtype, all.call.reduce, all.ins(start * all.element_bytes()), outs, {.elements = count});
}
void move_all_gather(const Table& all) {
  if (!all.out(all.index)) return;
  for (int from = 0; from < all.members; ++from)
    place_chunk(all.whole(), {int(all.call.join_axis), from}, all.in(from), all.out(all.index));
}
void move_reduce_scatter(const Table& all) {
  const Around at = around(all.dims, int(all.call.cut_axis));
  const int64_t start = chunk_start(at.total, all.members, all.index) * at.inner;
  const int64_t count = chunk_size(at.total, all.members, all.index) * at.inner;
  if (at.outer * count == 0) return;
  void* own = all.out(all.index);
  reduce(all.call.dtype, all.call.reduce, all.ins(start * all.element_bytes()), own,
         {.rows = at.outer, .elements = count, .in_stride = at.total * at.inner, .out_stride = count});
}
void move_all_to_all(const Table& all) {
  for (int from = 0; from < all.members; ++from)
    exchange_chunk(all.whole(), {int(all.call.cut_axis), all.index}, {int(all.call.join_axis), from}, all.in(from),
                   all.out(all.index));
}
void move(const Table& all) {
  switch (all.call.kind) {
    case Collective::all_reduce:
      return move_all_reduce(all);
    case Collective::all_gather:
      return move_all_gather(all);
    case Collective::reduce_scatter:
      return move_reduce_scatter(all);
    case Collective::all_to_all:
      return move_all_to_all(all);
    case Collective::barrier:
      return;
  }
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Shared& world, int rank) : world_(world), recorder_(world.recorders[rank]), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return int(world_.recorders.size()); }

  llvm::Error run(const CollectiveCall& call, const void* in, void* out) override {
    if (world_.failed) return world_.failure();  // also keeps entries that others may still read
    llvm::Expected<Place> place = find(call.group);
    if (!place) return own_fault(place.takeError());
    Entry& entry = recorder_.begin(call);
    llvm::Error result = run(entry, *place->meeting, place->index, in, out);
    entry.state.store(result ? FlightRecorder::State::failed : FlightRecorder::State::completed,
                      std::memory_order_relaxed);
    return result;
  }

  void abort(llvm::StringRef message) override { world_.fail("rank " + llvm::Twine(rank_) + " failed: " + message); }
  std::string flight_record() const override { return recorder_.text(); }

 private:
  struct Place {
    Meeting* meeting;
    int index;
  };
  using Entry = FlightRecorder::Entry;

  llvm::Expected<Place> find(llvm::ArrayRef<int> group) {
    for (const Place& place : places_)
      if (place.meeting->group() == group) return place;
    if (llvm::Error wrong = check_group(group, rank_, size())) return wrong;
    places_.push_back({world_.meeting(group), int(llvm::find(group, rank_) - group.begin())});
    return places_.back();
  }

  // An error of this rank's own: it will not come, so the others need not wait.
  llvm::Error own_fault(llvm::Error fault) {
    std::string text;
    llvm::raw_string_ostream(text) << fault;
    abort(text);
    return fault;
  }

  llvm::Error run(Entry& entry, Meeting& meeting, int index, const void* in, void* out) {
    const CollectiveCall& call = entry.call;
    const Extents dims = extents(call);
    if (llvm::Error wrong = check(call)) return own_fault(std::move(wrong));
    Meeting::Seat& seat = meeting.seat(index);
    const uint64_t come = ++seat.turn * 2, done = come + 1;
    Meeting::Turn& turn = seat.turns[seat.turn & 1];
    const bool copied = meeting.copies(input_bytes(call, meeting.size(), 0));
    turn.fingerprint = fingerprint(call);
    turn.call = &call;
    turn.out = out;
    turn.in = in;
    if (const int64_t bytes = input_bytes(call, meeting.size(), index); copied && in && bytes > 0) {
      std::memcpy(turn.copy.get(), in, bytes);
      turn.in = turn.copy.get();
    }
    seat.progress.store(come, std::memory_order_seq_cst);
    if (diverged(meeting, index, come)) return world_.failure();
    meeting.arrive(seat);
    llvm::Error late = await(entry, meeting, seat, come);
    if (!late) {
      entry.state.store(FlightRecorder::State::moving, std::memory_order_relaxed);
      const Table table = {call, dims, meeting, meeting.size(), index, copied};
      if (copied) {
        move(table);
        return llvm::Error::success();
      }
      // After a failure members leave, and their buffers go: either they see us busy and stay, or we see the failure.
      seat.busy.store(true, std::memory_order_seq_cst);
      const bool go = !world_.failed.load(std::memory_order_seq_cst);
      if (go) move(table);
      seat.busy.store(false, std::memory_order_seq_cst);
      if (go) {
        seat.progress.store(done, std::memory_order_seq_cst);
        meeting.arrive(seat);
        late = await(entry, meeting, seat, done);
        if (!late) return late;
      } else {  // not arriving keeps the others from taking what did not move for a result
        late = world_.failure();
      }
    }
    for (int member = 0; member < meeting.size(); ++member)
      while (meeting.seat(member).busy.load(std::memory_order_seq_cst)) std::this_thread::yield();
    return late;
  }

  // Each compares itself with those who came before it: of two members at least one sees the other. None has left,
  // since this one has not arrived.
  bool diverged(Meeting& meeting, int index, uint64_t come) {
    const Meeting::Turn& own = meeting.seat(index).turns[come / 2 & 1];
    for (int member = 0; member < meeting.size(); ++member) {
      if (member == index || meeting.seat(member).progress.load(std::memory_order_seq_cst) < come) continue;
      const Meeting::Turn& other = meeting.seat(member).turns[come / 2 & 1];
      if (other.fingerprint == own.fingerprint) continue;
      const bool swap = member < index;
      const Meeting::Turn &first = swap ? other : own, &second = swap ? own : other;
      world_.fail(print_diverged(meeting.group(), come / 2, std::min(index, member), *first.call,
                                 std::max(index, member), *second.call));
      return true;
    }
    return false;
  }

  llvm::Error await(const Entry& entry, Meeting& meeting, const Meeting::Seat& seat, uint64_t progress) {
    Meeting::Outcome outcome = meeting.spin(seat, world_.spin);
    if (outcome == Meeting::Outcome::late) outcome = sleep(entry, meeting, seat, progress);
    if (outcome == Meeting::Outcome::complete) return llvm::Error::success();
    return world_.failure();
  }

  Meeting::Outcome sleep(const Entry& entry, Meeting& meeting, const Meeting::Seat& seat, uint64_t progress) {
    const Clock::time_point end = Clock::now() + world_.timeout;
    Nanoseconds nap = std::chrono::milliseconds(50);
    world_.waits.enter(rank_, meeting, progress);
    Meeting::Outcome outcome;
    while (true) {
      outcome = meeting.sleep(seat, std::max(std::min(nap, Nanoseconds(end - Clock::now())), Nanoseconds(1'000'000)));
      if (outcome != Meeting::Outcome::late) break;
      // Seldom: from here on nobody is in a hurry.
      if (auto cycle = world_.waits.cycle(rank_); !cycle.empty())
        world_.fail(print_cycle(cycle));
      else if (Clock::now() >= end)
        if (auto missing = meeting.missing(progress); !missing.empty()) world_.fail(print_late(entry, missing));
      nap = std::min(nap * 2, Nanoseconds(std::chrono::seconds(1)));
    }
    world_.waits.leave(rank_);
    return outcome;
  }

  std::string doing(llvm::ArrayRef<int> ranks) const {
    std::string text;
    for (int rank : ranks)
      text += (text.empty() ? "rank " : "; rank ") + std::to_string(rank) + " " + world_.recorders[rank].last();
    return text;
  }
  std::string print_cycle(llvm::ArrayRef<int> ranks) const {
    return "ranks " + print_group(ranks) + " wait for each other: " + doing(ranks);
  }
  std::string print_late(const Entry& entry, llvm::ArrayRef<int> missing) const {
    return optp::print_late(entry.call, missing, world_.options.timeout_seconds) + ": " + doing(missing);
  }

  Shared& world_;
  FlightRecorder& recorder_;
  const int rank_;
  llvm::SmallVector<Place, 4> places_;  // the groups this rank has met in
};

}  // namespace

struct ThreadWorld::State {
  State(size_t size, ThreadWorldOptions options) : shared(size, options) {
    for (size_t rank = 0; rank < size; ++rank)
      communicators.push_back(std::make_unique<ThreadCommunicator>(shared, int(rank)));
  }
  Shared shared;
  std::vector<std::unique_ptr<ThreadCommunicator>> communicators;
};

ThreadWorld::ThreadWorld(size_t size, ThreadWorldOptions options) {
  assert(size > 0 && "a world has a rank");
  assert(options.timeout_seconds > 0 && "without a time limit a rank could hang");
  state_ = std::make_unique<State>(size, options);
  for (size_t rank = 0; rank < size; ++rank) held_.push_back(rank);
}
ThreadWorld::~ThreadWorld() = default;
Communicator& ThreadWorld::communicator(size_t rank) { return *state_->communicators[rank]; }
void ThreadWorld::abort(llvm::StringRef message) { state_->shared.fail(message); }

std::string ThreadWorld::flight_record() const {
  std::string text;
  for (size_t rank = 0; rank < size(); ++rank)
    text += "rank " + std::to_string(rank) + "\n" + state_->shared.recorders[rank].text();
  return text;
}

llvm::Expected<std::unique_ptr<World>> make_thread_world(llvm::Expected<size_t> ranks) {
  if (!ranks) return ranks.takeError();
  return std::make_unique<ThreadWorld>(*ranks);
}

}  // namespace optp
