// The ranks of a run, seen from one process of it: some are held here, the others elsewhere. Graphs meet through the
// communicators of the ranks; what processes have to tell each other besides goes through the world, and always in the
// same order: each function that says "together" is called by all processes, or by none.
//
// An error ends a run everywhere. A process that has one brings it along to what is done together next; all then get
// the same error, with all its parts, and nothing is done together after it.
#pragma once
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringSet.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/per_rank.h"

namespace optp {

class World {
 public:
  virtual ~World();
  virtual size_t size() const = 0;                      // ranks, here and elsewhere
  virtual llvm::ArrayRef<size_t> held() const = 0;      // ascending; every process holds some
  virtual Communicator& communicator(size_t rank) = 0;  // of a rank that is held; for one thread at a time
  // From any thread: who is in a collective, or begins one, returns with this message.
  virtual void abort(llvm::StringRef message) = 0;
  virtual std::string flight_record() const = 0;  // of the held ranks; at any time
  // What ranks send each other travels without them: collectives are begun early, and waited for late.
  virtual bool overlaps() const { return false; }

  bool holds(size_t rank) const;
  bool is_root() const { return holds(0); }  // reports, and has what is whole
  bool is_whole() const { return held().size() == size(); }

  // Together. If a process has an error, all end with it; of several the one that caused the others.
  llvm::Error agree(llvm::Error own);
  // Together. The root gets those of all ranks, the others of none.
  llvm::Expected<PerRank<std::string>> gather(llvm::Expected<PerRank<std::string>> own);
  // Together. The same of plain numbers: all processes are one build's.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  llvm::Expected<PerRank<T>> gather_numbers(const PerRank<T>& own) {
    PerRank<std::string> bytes(own.ranks());
    for (const size_t r : own.ranks()) bytes[r].assign(reinterpret_cast<const char*>(&own[r]), sizeof(T));
    auto all = gather(std::move(bytes));
    if (!all) return all.takeError();
    PerRank<T> out(all->ranks());
    for (const size_t r : all->ranks()) {
      if ((*all)[r].size() != sizeof(T)) return error(Code::bug, "numbers between processes are damaged");
      std::memcpy(&out[r], (*all)[r].data(), sizeof(T));
    }
    return out;
  }
  // Together. All get the root's; what others give is taken only if it is an error.
  llvm::Expected<std::string> broadcast(llvm::Expected<std::string> roots);
  // Together. Is it so on any process?
  llvm::Expected<bool> any(bool here);
  // Together. All get the names that some process gives.
  llvm::Error unite(llvm::StringSet<>& names);
  // Together. Only the root does it; all have its error.
  llvm::Error at_root(llvm::function_ref<llvm::Error()> work);
  // Together. What a run does from here to its end: an error of one process stops the others where they wait.
  llvm::Error run(llvm::function_ref<llvm::Error()> work);

 protected:
  // How bytes get there; not called where the world is whole. Called by all processes, in the same order. They fail if
  // another process is gone.
  virtual llvm::Expected<PerRank<std::string>> gather_bytes(PerRank<std::string> own) = 0;
  virtual llvm::Expected<std::string> broadcast_bytes(std::string roots) = 0;

 private:
  // One round: each process' part or error to the root; its answer, or the error of all, to each process.
  using Answer = llvm::function_ref<std::string(PerRank<std::string>& parts)>;
  llvm::Expected<std::string> exchange(llvm::Expected<PerRank<std::string>> own, Answer answer);
  bool ended_ = false;  // all have the error
};

// Makes the world of a run, together, once its number of ranks is known; a process that failed before says so.
using WorldMaker = std::function<llvm::Expected<std::unique_ptr<World>>(llvm::Expected<size_t> ranks)>;

}  // namespace optp
