// A parameter is a floating initializer used as a product's weight, a gather's table, a norm's scale or bias, or an added
// bias. Exports keep scales, masks and rotary frequencies as initializers too: those are constants.
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
llvm::Error find_parameters(Graph& graph, const PassOptions&) {
  InputDependence depends(graph);
  for (Value* v : graph.data()) {
    if (!is_float(v->type.dtype)) continue;
    v->is_parameter = llvm::any_of(v->uses, [&](const Use& use) {
      if (is_scale_or_bias(use)) {
        // A vector that only meets other constants is no layer's: rotary frequencies, position scales.
        return use.node->op->name == "layer_norm" || depends(use.node->operand(1 - use.operand));
      }
      if (is_table(use)) return v->ndim() >= 2;
      return is_contract_weight(use) && v->ndim() >= 2 && depends(use.node->operand(1 - use.operand)) && !v->type.dims.empty();
    });
  }
  return llvm::Error::success();
}
}  // namespace optp
