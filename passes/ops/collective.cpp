// Communication as ordinary nodes: docs/collectives.md. "axes" names mesh axes; materialise turns them into a group of
// ranks. all_gather and reduce_scatter act along tensor dim "axis", whose whole extent is "total".
#include "passes/ops/support.h"

namespace optp::ops {
namespace {
OpDef collective(const char* name, const char* summary, decltype(OpDef::infer) infer) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.extents = {"total", "local"};
  op.infer = infer;
  op.is_collective = true;
  return op;
}
const RegisteredOp all_reduce{collective("all_reduce", "the sum (or max, min) of all members' values, to all",
                                         [](const Node& node) -> llvm::Expected<Types> {
                                           return one(node.operand(0).type.dtype, node.operand(0).type.dims);
                                         })};
const RegisteredOp all_gather{collective("all_gather", "the members' parts along one dim joined, to all",
                                         [](const Node& node) -> llvm::Expected<Types> {
                                           Dims dims = node.operand(0).type.dims;
                                           dims[size_t(node.integer("axis"))] = node.dim("total");
                                           return one(node.operand(0).type.dtype, dims);
                                         })};
const RegisteredOp reduce_scatter{collective("reduce_scatter",
                                             "each member gets its part along one dim of the sum of all",
                                             [](const Node& node) -> llvm::Expected<Types> {
                                               Dims dims = node.operand(0).type.dims;
                                               dims[size_t(node.integer("axis"))] = node.dim("local");
                                               return one(node.operand(0).type.dtype, dims);
                                             })};
}  // namespace
}  // namespace optp::ops
