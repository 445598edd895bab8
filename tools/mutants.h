// Faults on purpose: a check that never fails proves nothing. Each breaks one thing in a rank's graph.
#pragma once
#include "frontend/ir/graph.h"
#include "frontend/ir/mesh.h"

namespace optp {
// "drop-all-reduce[:N]": the N-th sum is left out; "row-bias-everywhere": a bias is added before the sum, on every rank;
// "shift-shard[:NAME]": rank 1 holds a weight's shard that starts one row early.
llvm::Error apply_mutant(Graph& rank_graph, int64_t rank, llvm::StringRef mutant);
}  // namespace optp
