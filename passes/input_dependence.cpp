#include "passes/input_dependence.h"

#include "frontend/ir/reachable.h"

namespace optp {
InputDependence::InputDependence(const Graph& graph) {
  llvm::SmallVector<const Node*> users;
  for (const Value* v : graph.inputs) {
    inputs_.insert(v);
    for (const Use& use : v->uses) users.push_back(use.node);
  }
  nodes_ = reachable_from(graph, users);
}
}  // namespace optp
