// Every extent of a graph replaced by another: of values, of attributes, of shardings.
#pragma once
#include "frontend/ir/graph.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace optp {
void map_dims(Graph& graph, llvm::function_ref<Dim(Dim)> of);
}  // namespace optp
