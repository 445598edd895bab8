// Reading another process's memory, where both run on one machine and its kernel lets them: one copy, from where it is
// to where it is wanted, instead of three by way of a message (process_vm_readv(2), Linux 3.2; MPI libraries send large
// messages by it, too, but from a message of their own).
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "runtime/comm/world.h"

namespace optp {

class PeerMemory {
 public:
  // Nobody reads anybody's.
  PeerMemory() = default;
  // Together, in a world of one rank a process: each says where it is, and tries to read from each other.
  static llvm::Expected<PeerMemory> meet(World& processes);

  // Whether all of these processes read each other's memory.
  bool is_shared_by(llvm::ArrayRef<int> processes) const;
  // Runs of bytes whose starts lie a stride apart, there and here. False: the process is gone, or its memory.
  struct Runs {
    int64_t rows = 1, row_bytes = 0, from_stride = 0, to_stride = 0;
  };
  bool read(int process, const void* from, void* to, const Runs& runs) const;

 private:
  std::vector<pid_t> pids_;                // by process
  std::vector<std::vector<bool>> shared_;  // both ways
};

}  // namespace optp
