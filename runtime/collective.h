// A collective node's call to the communicator. Apart from executable.cpp: the transport's words for a reduction are
// its own.
#pragma once
#include <cstdint>
#include <string>

#include "frontend/ir/dtype.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

namespace optp {

class Communicator;

struct CollectiveCall {
  std::string op, id, reduce;  // op: the node's; reduce: "sum", "max", "min"
  DType dtype = DType::undefined;
  llvm::SmallVector<int64_t, 4> dims;  // whole along the axes that are cut or joined
  llvm::SmallVector<int, 8> group;
  int axis = 0, concat_axis = 0, root = 0;
};
bool in_place(const CollectiveCall& call);  // may `in` and `out` be the same buffer?
llvm::Error communicate(Communicator* communicator, const CollectiveCall& call, const void* in, void* out,
                        int64_t in_bytes);

}  // namespace optp
