// Faults on purpose: a check that never fails proves nothing. Each breaks one thing in a rank's graph.
#pragma once
#include "frontend/ir/graph.h"
#include "frontend/ir/mesh.h"

namespace optp {
// "drop-all-reduce[:N]": the N-th sum is left out; "row-bias-everywhere": a bias is added before the sum, on every
// rank; "double-all-reduce[:N]", "mean-for-sum[:N]": the N-th sum counts its addends too often, or too little;
// "misplaced-all-reduce": the residual is added before the sum;
// "shift-shard[:NAME]": rank 1 holds a weight's shard that starts one row early; "vocabulary-off-by-one": its lookup
// starts late. Of a training step: "drop-backward-all-reduce[:N]" (the forward pass stays right), "skip-tied-gradient":
// a gradient without its second term; "partial-norm-gradient": a norm's gradient from what a sum has yet to complete;
// "local-vocabulary-as-global": the loss numbers a rank's columns by its own share; "moment-on-another-axis";
// "clip-counts-replicas": the norm counts what every rank holds once a rank; "bias-correction-off-by-one";
// "decay-on-one-rank"; and of the ranks' options "swapped-betas", "clip-not-applied".
llvm::Error apply_mutant(Graph& rank_graph, int64_t rank, llvm::StringRef mutant);
}  // namespace optp
