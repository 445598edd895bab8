// Which nodes can be reached from others, along uses or against them.
#pragma once
#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseSet.h"

namespace optp {
llvm::DenseSet<const Node*> reachable_from(const Graph& graph, llvm::ArrayRef<const Node*> nodes);  // and these
llvm::DenseSet<const Node*> needed_by(const Graph& graph, llvm::ArrayRef<const Node*> nodes);       // and these
}  // namespace optp
