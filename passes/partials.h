// Which values may stay partial sums: the greatest fixpoint over the graph.
#pragma once
#include "frontend/ir/graph.h"
#include "passes/factors.h"

namespace optp {

struct PartialState {
  Reduce reduce = Reduce::none;
  Axes axes;
  bool is_partial() const { return !axes.empty(); }
  bool operator==(const PartialState&) const = default;
};

// Axes of each class at a node: what its loops are split over.
using NodeAxes = llvm::DenseMap<int, Axes>;
// What one node's result is, given its operands' states: partial over its contracted loops, or over what passes through.
// `accepts` says whether the node can take operand k as it is.
PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts);
}  // namespace optp
