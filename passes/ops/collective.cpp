// Communication as ordinary nodes: docs/collectives.md, and CollectiveCall for what their attributes mean. "axes" names
// mesh axes; materialise turns them into a group of ranks.
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
llvm::Expected<Types> infer_collective(const Node& node) {
  const CollectiveCall call = call_of(node);
  Dims dims = call.dims;
  if (cuts(call.kind)) dims[size_t(call.cut_axis)] = call.local;
  return one(call.dtype, dims);
}
OpDef collective(Collective kind, const char* summary) {
  OpDef op;
  op.name = to_string(kind).str();
  op.summary = summary;
  op.extents = {"total", "local", "extent"};
  op.infer = infer_collective;
  op.collective = kind;
  return op;
}
const RegisteredOp all_reduce{
    collective(Collective::all_reduce, "the sum (or max, min) of all members' values, to all")};
const RegisteredOp all_gather{collective(Collective::all_gather, "the members' parts along one dim joined, to all")};
const RegisteredOp reduce_scatter{
    collective(Collective::reduce_scatter, "each member gets its part along one dim of the sum of all")};
const RegisteredOp all_to_all{
    collective(Collective::all_to_all, "the members' parts along one dim become parts along another")};
}  // namespace
}  // namespace optp::ops
