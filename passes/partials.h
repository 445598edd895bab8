// Which values may stay partial sums: the greatest fixpoint over the graph.
//
// A product over a split inner dim leaves each rank with addends of the result, not with the result: a partial sum. It
// need not be all-reduced at once, because linear ops commute with the sum. In a transformer whose attention and MLP
// run side by side (GPT-J) both end in such a product, and
//
//   %a = contract(%heads, %wo)   partial over tensor      %a = contract(%heads, %wo)   partial
//   %m = contract(%inner, %w2)   partial over tensor      %m = contract(%inner, %w2)   partial
//   %a.all_reduce, %m.all_reduce                    =>    %s = add(%a, %m)             partial
//   %y = add(%x, %a.all_reduce, %m.all_reduce)            %y = add(%x, all_reduce(%s))
//
// needs one all-reduce instead of two. What an op lets through is its rule's `Linear` (frontend/ir/op.h): a view passes
// its operand's sum on, an add needs all its operands partial over the same axes (a whole one would be added once per
// rank), a product passes one operand's, a softmax none.
//
// Whether a value may stay partial depends on its users and theirs, so all values that can be are assumed to be, and
// those that some user can't take are removed until nothing changes: the greatest fixpoint of a monotone function
// (Tarski, 1955; the same scheme as optimistic constant propagation). Megatron-LM's one all-reduce after attention and
// after the MLP follows from this; nothing names these places.
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
using NodeAxes = llvm::DenseMap<int, AxisUses>;
// What one node's result is, given its operands' states: partial over its contracted loops, or over what passes
// through. `accepts` says whether the node can take operand k as it is.
PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts);
// Whether a value whose dims are cut so may be partial as well: along other axes, or as a sum over one that covers.
bool may_be_partial(const Sharding& own, const PartialState& state);
// Marks the values that stay partial: starts from all that may and removes until nothing changes. A pinned value keeps
// the sharding that it has.
void find_partials(Graph& graph, const Factors& factors, llvm::function_ref<bool(const Value&)> is_pinned);
// Of an annotated graph: how many heads of keys and values the devices hold for their queries, copies included.
std::vector<std::string> copies_of_heads(const Graph& graph);
// Makes binary adds of sums: what is partial alike is added up first, reduced once, and then the rest is added.
llvm::Error lower_sums(Graph& graph);
}  // namespace optp
