#include "passes/input_dependence.h"

#include "frontend/ir/reachable.h"

namespace optp {
InputDependence::InputDependence(const Graph& graph) : InputDependence(graph, [](const Value&) { return true; }) {}
InputDependence::InputDependence(const Graph& graph, llvm::function_ref<bool(const Value&)> counts) {
  llvm::SmallVector<const Node*> users;
  for (const Value* v : graph.inputs) {
    if (!counts(*v)) continue;
    inputs_.insert(v);
    for (const Use& use : v->uses) users.push_back(use.node);
  }
  nodes_ = reachable_from(graph, users);
}
}  // namespace optp
