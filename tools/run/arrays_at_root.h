// What all ranks have of some arrays, as the root sees it: its own ranks' where they lie, the others' as they were
// sent.
#pragma once
#include <deque>

#include "frontend/ir/host_array.h"
#include "runtime/comm/world.h"

namespace optp {

// What a held rank has under a name; null: nothing.
using HeldArray = llvm::function_ref<const HostArray*(size_t rank, llvm::StringRef name)>;

class ArraysAtRoot {
 public:
  // Together, with the same names on each process. What the root holds must outlive this.
  static llvm::Expected<ArraysAtRoot> gather(World& world, llvm::ArrayRef<std::string> names, HeldArray held);
  // At the root only; null: the rank has none of this name.
  const HostArray* find(size_t rank, llvm::StringRef name) const;

 private:
  PerRank<std::map<std::string, const HostArray*, std::less<>>> found_;
  std::deque<HostArray> sent_;  // stay where they are
};

}  // namespace optp
