// Where the loops of one node are split, given the shardings of its values.
#pragma once
#include "passes/factors.h"
#include "passes/partials.h"

namespace optp {

// The axes of each factor class at this node: of what both factors of a product hold in parts of a sum, then those of
// its results, then, for what it sums, those of its operands.
NodeAxes node_axes(const Node& node, const Factors& factors);
// Do both cut over one mesh axis, in whatever way?
bool share_an_axis(llvm::ArrayRef<AxisUse> a, llvm::ArrayRef<AxisUse> b);
// Of what stands for `times` of a finer factor that these cut (frontend/ir/axis_use.h). Empty: it is held whole.
AxisUses covering(llvm::ArrayRef<AxisUse> axes, int64_t times);
// What a node sums over covered loops of complete operands it sums once: no copy of an addend counts twice. A slice
// without communication.
void hold_once(NodeAxes& axes, const Node& node, const Factors& factors);
// The axes of factor k where a product is held as `split`, which may divide what is below and above it otherwise.
AxisUses axes_of_factor(const FactorShardings& split, const Factors::ProductFactors& own, size_t k);
// A dim's or loop's sharding under these axes.
DimSharding sharded(const Factors::DimFactors& dim, const NodeAxes& axes);
DimSharding sharded(const Factors::DimFactors& dim, llvm::function_ref<AxisUses(Factors::Class)> axes_of);
// Of a loop, as the node needs it. A sum over several parts is one of addends only if all of them are split: a whole
// part would be added once per rank. It is cut for this node alone, which needs no communication.
DimSharding loop_sharding(const Node& node, const Factors& factors, int loop, const NodeAxes& axes);
// Nothing is split. Of a dim of one product its factors stand there, to be given axes.
DimSharding unsplit(const Factors::DimFactors& dim);
// Each part along its major factor.
DimSharding cut_at_majors(const Factors::DimFactors& dim, const AxisUses& axes);

}  // namespace optp
