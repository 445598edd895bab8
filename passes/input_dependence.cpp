#include "passes/input_dependence.h"

#include "llvm/ADT/STLExtras.h"

namespace optp {
InputDependence::InputDependence(const Graph& graph) {
  for (const Value* v : graph.inputs) dependent_.insert(v);
  for (const auto& node : graph.nodes)
    if (llvm::any_of(node->operands, [&](const Value* v) { return dependent_.contains(v); }))
      for (const auto& r : node->results) dependent_.insert(r.get());
}
}  // namespace optp
