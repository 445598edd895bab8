// One tensor's shards in a terminal, for any number of dims: a ruler for each dim, from its first index to its last,
// with the devices that hold each stretch of it.
#pragma once
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
// `tensor`: a tensor of a checked plan. Dims without a number, or whose ranges depend on such, are left out.
void draw_shards(const llvm::json::Object& tensor, bool colour, llvm::raw_ostream& out);
}  // namespace optp
