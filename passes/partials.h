// Which values may stay partial sums: the greatest fixpoint over the graph.
#pragma once
#include "frontend/ir/graph.h"
#include "passes/factors.h"
#include "passes/passes.h"

namespace optp {

struct PartialState {
  Reduce reduce = Reduce::none;
  Axes axes;
  bool is_partial() const { return !axes.empty(); }
  bool operator==(const PartialState&) const = default;
};

// Axes of each class at a node: what its loops are split over.
using NodeAxes = llvm::DenseMap<int, Axes>;
// What one node's result is, given its operands' states: partial over its contracted loops, or over what passes
// through. `accepts` says whether the node can take operand k as it is.
PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts);
// Marks the values that stay partial: starts from all that may and removes until nothing changes. Those of `frozen`
// values are taken as they are.
void find_partials(Graph& graph, const Factors& factors, llvm::function_ref<bool(const Value&)> frozen);
// Of an annotated graph; values that are to be kept stay as they are. True if it made adds, which have no sharding yet.
llvm::Expected<bool> join_partials(Graph& graph, const Factors& factors, const PassOptions& options,
                                   llvm::function_ref<bool(const Value&)> keep);
// Makes binary adds of sums: what is partial alike is added up first, reduced once, and then the rest is added.
llvm::Error lower_sums(Graph& graph);
}  // namespace optp
