// What is too large for the machine is refused by name before it is tried: to try ends in a killed process.
#pragma once
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "llvm/Support/Error.h"

namespace optp {
int64_t machine_memory_bytes();
// Errors: bad_input where a tensor of this dtype and shape alone is larger than the machine's memory.
llvm::Error fits_in_memory(const Place& place, DType dtype, llvm::ArrayRef<int64_t> dims);
// bind_dims for a graph that is to run: each of its values fits.
llvm::Expected<std::unique_ptr<Graph>> bind_to_run(const Graph& graph,
                                                   const std::map<std::string, int64_t, std::less<>>& dims);
}  // namespace optp
