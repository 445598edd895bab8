// A collective here is one round in which each member sends each other one what it needs, and for large all-reduces a
// second one: member i combines chunk i of all inputs and sends the result to all. So of n bytes a member of k sends
// 2 n (k - 1) / k. Small ones are combined by every member for itself, in the same order.
//
// What is sent is copied first, and what comes is copied out of its letter. So nobody touches another's buffers, and
// after a failure each may go at once. Where all members can read each other's memory, large ones tell addresses
// instead and read what they need from where it lies, between letters that say that it is there and that it has been
// read. Of a member that has failed and gone nothing or anything is read, and nothing is made of it: the run has
// failed.
#include "runtime/comm/process_communicator.h"

#include <algorithm>
#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/mesh.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include "runtime/comm/failure_text.h"
#include "runtime/comm/move.h"
#include "runtime/comm/reduce.h"
#include "runtime/comm/stamp.h"

namespace optp {
namespace {
using Clock = std::chrono::steady_clock;
constexpr int64_t whole_bytes = 64 * 1024;   // up to here a second round costs more than the bytes that it saves
constexpr int64_t block_bytes = 128 * 1024;  // of a sum; a member's block is still in the cache when it is added

constexpr int64_t line_bytes = 64;

char* at_byte(void* data, int64_t offset) { return static_cast<char*>(data) + offset; }
const char* at_byte(const void* data, int64_t offset) { return static_cast<const char*>(data) + offset; }
}  // namespace

// One collective, on its way.
struct ProcessCommunicator::Meeting {
  ProcessCommunicator& self;
  const Group& group;
  const CollectiveCall& call;
  const Extents dims = extents(call);
  const int join_axis = int(call.join_axis), cut_axis = int(call.cut_axis);
  const std::string stamp = write_stamp(call);
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(self.mail_.options().timeout_seconds));
  std::vector<Mail::Letter> letters{group.ranks.size()};  // of the last round, by member

  int members() const { return int(group.ranks.size()); }
  int own() const { return group.index; }
  int64_t element_bytes() const { return size_bytes(call.dtype); }
  Chunking chunks_of(llvm::ArrayRef<int64_t> whole) const { return {whole, element_bytes(), members()}; }
  Mail::Address address(int step, int from, int to) const {
    return {.step = uint32_t(step),
            .from = group.ranks[from],
            .to = group.ranks[to],
            .group = group.hash,
            .turn = group.turn};
  }
  template <class F>
  void each_other(F f) const {  // beginning behind this one, so that not all send to the first at once
    for (int k = 1; k < members(); ++k) f((own() + k) % members());
  }

  // Each other member gets so many bytes, which `write` fills in, and sends its own.
  llvm::Error round(int step, llvm::function_ref<int64_t(int to)> bytes,
                    llvm::function_ref<void(int to, char* payload)> write) {
    uint64_t number = 0;
    each_other([&](int to) {
      Mail::Letter letter(stamp, size_t(bytes(to)));
      write(to, letter.payload());
      number = std::max(number,
                        self.mail_.send(self.process_of(group.ranks[to]), address(step, own(), to), std::move(letter)));
    });
    for (int from = 0; from < members(); ++from) {
      if (from == own()) continue;
      auto letter = self.mail_.receive(address(step, from, own()), end);
      while (!letter) {  // but for one that comes in this moment
        if (auto e = late(step, from)) return e;
        letter = self.mail_.receive(address(step, from, own()), end);
      }
      if (letter->stamp() != stamp) return diverged(from, letter->stamp());
      letters[from] = std::move(*letter);
    }
    return self.mail_.leave(number, end) ? llvm::Error::success() : untaken();
  }

  // Where others read from; of this member in the first place of a collective, of the others once all have met.
  struct Place {
    const char *in, *out;
  };
  std::vector<Place> places{group.ranks.size()};
  bool reads(int64_t bytes) const { return group.reads && bytes > whole_bytes; }
  llvm::Error tell_places(const void* in, void* out) {
    const Place own = {static_cast<const char*>(in), static_cast<const char*>(out)};
    auto e = round(0, [](int) { return int64_t(sizeof own); }, [&](int, char* to) { copy(to, &own, sizeof own); });
    if (e) return e;
    each_other([&](int from) { std::memcpy(&places[from], letters[from].payload(), sizeof own); });
    return llvm::Error::success();
  }
  llvm::Error meet(int step) {
    return round(step, [](int) { return 0; }, [](int, char*) {});
  }
  llvm::Error read(int from, const char* there, void* here, const PeerMemory::Runs& runs) {
    if (self.peers_.read(self.process_of(group.ranks[from]), there, here, runs)) return llvm::Error::success();
    self.mail_.fail("rank " + llvm::Twine(group.ranks[from]) + self.mail_.on_host(self.process_of(group.ranks[from])) +
                    " is gone: its memory can't be read");
    return self.mail_.failure();
  }
  // The sum of `rows` runs of so many elements that begin there in each member's input.
  llvm::Error sum_read(const void* in, int64_t offset, int64_t stride, void* out, int64_t rows, int64_t elements) {
    const int64_t block = std::max<int64_t>(1, block_bytes / element_bytes());
    // On a cache line, as what is read lies: to 16 bytes behind it modulo a page, where new would put it, some
    // processors' string moves, which the kernel copies by, take four times as long.
    const int64_t piece_bytes = std::min(block, elements) * element_bytes();
    const Message scratch(size_t(members()) * size_t(piece_bytes) + line_bytes);
    char* const pieces = at_byte(scratch.data.get(), -intptr_t(scratch.data.get()) & (line_bytes - 1));
    llvm::SmallVector<const void*, 8> ins(size_t(members()), nullptr);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t at = 0; at < elements; at += block) {
        const int64_t count = std::min(block, elements - at), bytes = count * element_bytes();
        const int64_t begin = offset + row * stride + at * element_bytes();
        for (int member = 0; member < members(); ++member) {
          ins[size_t(member)] = at_byte(in, begin);
          if (member == own()) continue;
          char* piece = at_byte(pieces, member * piece_bytes);
          if (auto e = read(member, places[member].in + begin, piece, {.rows = 1, .row_bytes = bytes})) return e;
          ins[size_t(member)] = piece;
        }
        reduce(call.dtype, call.reduce, ins, at_byte(out, (row * elements + at) * element_bytes()),
               {.elements = count});
      }
    return llvm::Error::success();
  }

  // All has come, but somebody does not take what is sent to it.
  llvm::Error untaken() {
    llvm::SmallVector<int, 8> others;
    for (const int rank : group.ranks)
      if (rank != group.ranks[own()]) others.push_back(rank);
    std::string hosts;
    for (const int rank : others)
      hosts += (hosts.empty() ? "rank " : ", rank ") + std::to_string(rank) + self.mail_.on_host(self.process_of(rank));
    self.mail_.fail(print_late(call, others, self.mail_.options().timeout_seconds) + ": what is sent is not taken by " +
                    hosts);
    return self.mail_.failure();
  }

  // Those before `next` have come.
  llvm::Error late(int step, int next) {
    if (self.mail_.has_failed()) return self.mail_.failure();
    llvm::SmallVector<int, 8> missing;
    std::string doing;
    for (int from = next; from < members(); ++from) {
      if (from == own() || self.mail_.has(address(step, from, own()))) continue;
      missing.push_back(group.ranks[from]);
      const auto last = read_stamp(self.mail_.last_stamp(group.ranks[from]));
      doing += (doing.empty() ? "rank " : "; rank ") + std::to_string(group.ranks[from]) +
               self.mail_.on_host(self.process_of(group.ranks[from]));
      doing += last ? " was last heard of in " + describe(*last) + " over " + print_group(last->group)
                    : " has not been heard of";
    }
    if (missing.empty()) return llvm::Error::success();
    self.mail_.fail(print_late(call, missing, self.mail_.options().timeout_seconds) + ": " + doing);
    return self.mail_.failure();
  }
  llvm::Error diverged(int from, llvm::StringRef bytes) {
    const auto other = read_stamp(bytes);
    if (!other)
      self.mail_.fail("a message from rank " + llvm::Twine(group.ranks[from]) + " is damaged");
    else if (from < own())
      self.mail_.fail(print_diverged(group.ranks, group.turn, from, *other, own(), call));
    else
      self.mail_.fail(print_diverged(group.ranks, group.turn, own(), call, from, *other));
    return self.mail_.failure();
  }

  llvm::Error all_reduce(const void* in, void* out) {
    const int64_t elements = count_of(dims), bytes = elements * element_bytes();
    if (bytes <= whole_bytes) {
      if (auto e = round(0, [&](int) { return bytes; }, [&](int, char* to) { copy(to, in, bytes); })) return e;
      combine(in, out, elements);
      return llvm::Error::success();
    }
    auto start = [&](int member) { return chunk_start(elements, members(), member) * element_bytes(); };
    auto size = [&](int member) { return chunk_size(elements, members(), member) * element_bytes(); };
    if (reads(bytes)) {
      if (auto e = tell_places(in, out)) return e;
      const int64_t count = chunk_size(elements, members(), own());
      if (auto e = sum_read(in, start(own()), 0, at_byte(out, start(own())), 1, count)) return e;
      if (auto e = meet(1)) return e;
      for (int from = 0; from < members(); ++from)
        if (from != own())
          if (auto e = read(from, places[from].out + start(from), at_byte(out, start(from)),
                            {.rows = 1, .row_bytes = size(from)}))
            return e;
      return meet(2);
    }
    if (auto e = round(0, size, [&](int to, char* piece) { copy(piece, at_byte(in, start(to)), size(to)); })) return e;
    char* const sum = at_byte(out, start(own()));
    combine(at_byte(in, start(own())), sum, chunk_size(elements, members(), own()));
    if (auto e = round(1, [&](int) { return size(own()); }, [&](int, char* to) { copy(to, sum, size(own())); }))
      return e;
    each_other([&](int from) { copy(at_byte(out, start(from)), letters[from].payload(), size(from)); });
    return llvm::Error::success();
  }
  // Own elements and those of the letters, in the group's order.
  void combine(const void* in, void* out, int64_t elements) {
    llvm::SmallVector<const void*, 8> ins;
    for (int member = 0; member < members(); ++member) ins.push_back(member == own() ? in : letters[member].payload());
    reduce(call.dtype, call.reduce, ins, out, {.elements = elements});
  }
  static void copy(void* out, const void* in, int64_t bytes) {
    if (bytes > 0 && out != in) std::memcpy(out, in, size_t(bytes));
  }

  llvm::Error all_gather(const void* in, void* out) {
    if (reads(count_of(dims) * element_bytes())) return read_gather(in, out);
    const int64_t bytes = input_bytes(call, members(), own());
    if (auto e = round(0, [&](int) { return bytes; }, [&](int, char* to) { copy(to, in, bytes); })) return e;
    for (int from = 0; out && from < members(); ++from)
      place_chunk(chunks_of(dims), {join_axis, from}, from == own() ? in : letters[from].payload(), out);
    return llvm::Error::success();
  }

  llvm::Error read_gather(const void* in, void* out) {
    if (auto e = tell_places(in, /*out=*/nullptr)) return e;
    const Around at = around(dims, join_axis);
    const int64_t inner = at.inner * element_bytes();
    for (int from = 0; out && from < members(); ++from) {
      const int64_t bytes = chunk_size(at.total, members(), from) * inner;
      void* place = at_byte(out, chunk_start(at.total, members(), from) * inner);
      if (from == own())
        place_chunk(chunks_of(dims), {join_axis, from}, in, out);
      else if (auto e =
                   read(from, places[from].in, place,
                        {.rows = at.outer, .row_bytes = bytes, .from_stride = bytes, .to_stride = at.total * inner}))
        return e;
    }
    return meet(1);
  }

  llvm::Error reduce_scatter(const void* in, void* out) {
    const Around at = around(dims, cut_axis);
    auto elements = [&](int member) { return at.outer * chunk_size(at.total, members(), member) * at.inner; };
    auto cut = [&](int member, void* piece) { take_chunk(chunks_of(dims), {cut_axis, member}, in, piece); };
    if (auto e = round(0, [&](int to) { return elements(to) * element_bytes(); }, cut)) return e;
    const Message piece(size_t(elements(own()) * element_bytes()));  // out may lie in in
    cut(own(), piece.data.get());
    combine(piece.data.get(), out, elements(own()));
    return llvm::Error::success();
  }

  llvm::Error all_to_all(const void* in, void* out) {
    // What this member has: its chunk along the axis that is joined; of it, what the other one gets.
    Extents held = dims, wanted = dims;
    held[join_axis] = chunk_size(dims[join_axis], members(), own());
    wanted[cut_axis] = chunk_size(dims[cut_axis], members(), own());
    auto bytes = [&](int to) {
      const Around at = around(held, cut_axis);
      return at.outer * chunk_size(at.total, members(), to) * at.inner * element_bytes();
    };
    auto cut = [&](int to, char* piece) { take_chunk(chunks_of(held), {cut_axis, to}, in, piece); };
    if (auto e = round(0, bytes, cut)) return e;
    exchange_chunk(chunks_of(dims), {cut_axis, own()}, {join_axis, own()}, in, out);
    each_other([&](int from) { place_chunk(chunks_of(wanted), {join_axis, from}, letters[from].payload(), out); });
    return llvm::Error::success();
  }

  llvm::Error run(const void* in, void* out) {
    switch (call.kind) {
      case Collective::all_reduce:
        return all_reduce(in, out);
      case Collective::all_gather:
        return all_gather(in, out);
      case Collective::reduce_scatter:
        return reduce_scatter(in, out);
      case Collective::all_to_all:
        return all_to_all(in, out);
      case Collective::barrier:
        break;
    }
    return round(0, [](int) { return 0; }, [](int, char*) {});
  }
};

llvm::Error ProcessCommunicator::run(const CollectiveCall& call, const void* in, void* out) {
  if (mail_.has_failed()) return mail_.failure();
  auto group = find(call.group);
  if (!group) return own_fault(group.takeError());
  FlightRecorder::Entry& entry = recorder_.begin(call);
  auto done = [&]() -> llvm::Error {
    if (llvm::Error wrong = check(call)) return own_fault(std::move(wrong));
    ++(*group)->turn;
    return Meeting{*this, **group, call}.run(in, out);
  }();
  entry.state.store(done ? FlightRecorder::State::failed : FlightRecorder::State::completed, std::memory_order_relaxed);
  return done;
}

llvm::Expected<ProcessCommunicator::Group*> ProcessCommunicator::find(llvm::ArrayRef<int> ranks) {
  for (const auto& known : groups_)
    if (llvm::ArrayRef<int>(known->ranks) == ranks) return known.get();
  if (llvm::Error wrong = check_group(ranks, rank_, size())) return wrong;
  auto made = std::make_unique<Group>();
  made->ranks.assign(ranks.begin(), ranks.end());
  made->index = int(llvm::find(ranks, rank_) - ranks.begin());
  made->hash =
      llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t*>(ranks.data()), ranks.size() * sizeof(int)));
  llvm::SmallVector<int, 8> processes;
  for (const int rank : ranks) processes.push_back(process_of(rank));
  made->reads = peers_.is_shared_by(processes);
  groups_.push_back(std::move(made));
  return groups_.back().get();
}

// An error of this rank's own: it will not come, so the others need not wait.
llvm::Error ProcessCommunicator::own_fault(llvm::Error fault) {
  std::string text;
  llvm::raw_string_ostream(text) << fault;
  abort(text);
  return fault;
}

int ProcessCommunicator::process_of(int rank) const {
  return int(llvm::upper_bound(first_rank_, size_t(rank)) - first_rank_.begin()) - 1;
}

}  // namespace optp
