// Faults on purpose: a check that never fails proves nothing. Each breaks one thing in a rank's graph.
#pragma once
#include "frontend/ir/graph.h"
#include "frontend/ir/mesh.h"

namespace optp {
// What to break, as --mutant has it:
//   NAME                 the first place of its kind, or all of them: the table says which
//   NAME:N               the N-th place, counted from 0, where mutants.cpp's table calls the name numbered
//   shift-shard:WEIGHT   the shard of that weight
// The table says what each name breaks, and which are of a training step. Some break one rank only: `rank` is the one
// whose graph this is, and the others stay right. Errors: bad_value, for a name that the table lacks, an N that is no
// number, and a graph with nothing to break that way: an unbroken one would prove nothing.
llvm::Error apply_mutant(Graph& rank_graph, int64_t rank, llvm::StringRef mutant);
// Two of them are of the options that ranks are given: they leave the graph as it is.
constexpr llvm::StringLiteral swapped_betas = "swapped-betas", clip_not_applied = "clip-not-applied";
}  // namespace optp
