// Which values depend on a graph input? (Weights and what is computed from them alone do not.)
#pragma once
#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
class InputDependence {
 public:
  explicit InputDependence(const Graph& graph);
  bool operator()(const Value& v) const { return dependent_.contains(&v); }

 private:
  llvm::DenseSet<const Value*> dependent_;
};
}  // namespace optp
