#include "runtime/comm/peer_memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MemoryBuffer.h"

namespace optp {
namespace {
// What a process shows others to find, so that a number which is another process's there is not taken for it.
struct Card {
  uint64_t mark[2];
};

// The machine as far as memory goes: the running kernel, and the namespaces in which a process number and an address of
// the network mean something. Containers of one machine that are hosts of their own stay so.
std::string machine() {
  std::string out;
  if (auto boot = llvm::MemoryBuffer::getFileAsStream("/proc/sys/kernel/random/boot_id"))
    out = (*boot)->getBuffer().trim().str();
  for (const char* space : {"/proc/self/ns/pid", "/proc/self/ns/net"}) {
    char name[64];
    const ssize_t size = ::readlink(space, name, sizeof name);
    out += " " + (size > 0 ? std::string(name, size_t(size)) : std::string("?"));
  }
  return out;
}
Card& own_card() {
  static Card card = [] {
    Card made;
    made.mark[0] = uint64_t(::getpid()) << 32 ^ reinterpret_cast<uintptr_t>(&own_card);
    made.mark[1] = uint64_t(std::chrono::steady_clock::now().time_since_epoch().count());
    return made;
  }();
  return card;
}
bool is_seen(pid_t pid, uintptr_t address, const Card& expected) {
  Card found = {};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): another process's address, sent as a number
  const iovec here = {&found, sizeof found}, there = {reinterpret_cast<void*>(address), sizeof found};
  return ::process_vm_readv(pid, &here, 1, &there, 1, 0) == ssize_t(sizeof found) &&
         llvm::ArrayRef(found.mark) == llvm::ArrayRef(expected.mark);
}
// What each process says, by process.
llvm::Expected<std::vector<std::string>> exchange(World& processes, std::string own) {
  PerRank<std::string> part(processes.held());
  part[processes.held()[0]] = std::move(own);
  auto all = processes.gather(std::move(part));
  if (!all) return all.takeError();
  std::string joined;
  if (processes.is_root())
    for (const size_t r : all->ranks()) joined += (r ? "\n" : "") + (*all)[r];
  auto text = processes.broadcast(std::move(joined));
  if (!text) return text.takeError();
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(*text).split(lines, '\n');
  return std::vector<std::string>(lines.begin(), lines.end());
}
}  // namespace

llvm::Expected<PeerMemory> PeerMemory::meet(World& processes) {
  const Card& card = own_card();
  const std::string own = machine() + "|" + std::to_string(::getpid()) + "|" +
                          std::to_string(reinterpret_cast<uintptr_t>(&card)) + "|" + std::to_string(card.mark[0]) +
                          "|" + std::to_string(card.mark[1]);
  auto everybody = exchange(processes, own);
  if (!everybody) return everybody.takeError();
  PeerMemory out;
  std::string reads;
  for (const std::string& peer : *everybody) {
    llvm::SmallVector<llvm::StringRef, 5> parts;
    llvm::StringRef(peer).split(parts, '|');
    pid_t pid = 0;
    uintptr_t address = 0;
    Card expected = {};
    const bool is_here = parts.size() == 5 && parts[0] == machine() && !parts[1].getAsInteger(10, pid) &&
                         !parts[2].getAsInteger(10, address) && !parts[3].getAsInteger(10, expected.mark[0]) &&
                         !parts[4].getAsInteger(10, expected.mark[1]);
    out.pids_.push_back(pid);
    reads += is_here && is_seen(pid, address, expected) ? '1' : '0';
  }
  auto rows = exchange(processes, reads);
  if (!rows) return rows.takeError();
  for (size_t a = 0; a < rows->size(); ++a) {
    out.shared_.emplace_back();
    for (size_t b = 0; b < rows->size(); ++b)
      out.shared_.back().push_back((*rows)[a].size() > b && (*rows)[b].size() > a && (*rows)[a][b] == '1' &&
                                   (*rows)[b][a] == '1');
  }
  return out;
}

bool PeerMemory::is_shared_by(llvm::ArrayRef<int> processes) const {
  return llvm::all_of(processes, [&](int a) {
    return llvm::all_of(processes, [&](int b) { return size_t(a) < shared_.size() && shared_[size_t(a)][size_t(b)]; });
  });
}

bool PeerMemory::read(int process, const void* from, void* to, const Runs& runs) const {
  // A call takes so many runs, and counts bytes as int does.
  constexpr int64_t most_runs = 1024, most_bytes = int64_t(1) << 30;
  const auto* there = static_cast<const char*>(from);
  auto* here = static_cast<char*>(to);
  if (runs.from_stride == runs.row_bytes && runs.to_stride == runs.row_bytes && runs.rows > 1)
    return read(process, from, to, {.rows = 1, .row_bytes = runs.rows * runs.row_bytes});
  if (runs.row_bytes > most_bytes) {
    for (int64_t row = 0; row < runs.rows; ++row)
      for (int64_t at = 0; at < runs.row_bytes; at += most_bytes)
        if (!read(process, there + row * runs.from_stride + at, here + row * runs.to_stride + at,
                  {.rows = 1, .row_bytes = std::min(most_bytes, runs.row_bytes - at)}))
          return false;
    return true;
  }
  if (runs.row_bytes == 0) return true;
  const int64_t most = std::min(most_runs, most_bytes / runs.row_bytes);
  for (int64_t row = 0; row < runs.rows; row += most) {
    llvm::SmallVector<iovec, 64> sources, places;
    for (int64_t k = row; k < std::min(runs.rows, row + most); ++k) {
      sources.push_back({const_cast<char*>(there) + k * runs.from_stride, size_t(runs.row_bytes)});
      places.push_back({here + k * runs.to_stride, size_t(runs.row_bytes)});
    }
    const auto bytes = ssize_t(places.size()) * runs.row_bytes;
    if (::process_vm_readv(pids_[size_t(process)], places.data(), places.size(), sources.data(), sources.size(), 0) !=
        bytes)
      return false;
  }
  return true;
}

}  // namespace optp
