// Which values depend on a graph input? (Weights and what is computed from them alone do not.)
#pragma once
#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace optp {
class InputDependence {
 public:
  explicit InputDependence(const Graph& graph);
  // Of the inputs that count.
  InputDependence(const Graph& graph, llvm::function_ref<bool(const Value&)> counts);
  bool operator()(const Value& v) const { return v.producer ? nodes_.contains(v.producer) : inputs_.contains(&v); }

 private:
  llvm::DenseSet<const Node*> nodes_;
  llvm::DenseSet<const Value*> inputs_;
};
}  // namespace optp
