// Exporters merge equal initializers: in a fresh model all norms' scales are one tensor of ones, all biases one of zeros.
// They are parameters of their own, with one gradient each; a constant-valued scale or bias used in k places becomes k.
// The first use keeps the name, the others are named after their node.
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
llvm::Error unshare_parameters(Graph& graph, const PassOptions& options) {
  if (options.keep_shared) return llvm::Error::success();
  for (Value* v : graph.data()) {
    if (!is_float(v->type.dtype) || v->ndim() != 1 || v->uses.size() < 2) continue;
    if (!v->data->is_missing() && !is_constant_valued(*v->data)) continue;
    if (v->data->is_missing()) continue;  // without its bytes sharing can't be told from merging
    llvm::SmallVector<Use, 4> uses(v->uses.begin(), v->uses.end());
    bool first = true;
    for (const Use& use : uses) {
      if (!is_scale_or_bias(use)) continue;
      if (first) {
        first = false;
        continue;
      }
      const std::string place = use.node->name.empty() ? use.node->out().name : use.node->name;
      Value& copy = graph.add_data(place + (use.node->op->name == "layer_norm" && use.operand == 1 ? ".weight" : ".bias"), v->data);
      graph.set_operand(*use.node, use.operand, copy);
      graph.remarks.push_back("parameter '" + copy.name + "': the exporter merged it with '" + v->name + "'; it is sharded and counted on its own");
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
