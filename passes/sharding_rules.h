// Where the loops of one node are split, given the shardings of its values.
#pragma once
#include "passes/factors.h"
#include "passes/partials.h"

namespace optp {

// The axes of each factor class at this node: those of its results, then, for what it sums, those of its operands.
NodeAxes node_axes(const Node& node, const Factors& factors);
// A dim's or loop's sharding under these axes.
DimSharding sharded(const Factors::DimFactors& dim, const NodeAxes& axes);

}  // namespace optp
