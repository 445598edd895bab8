// Processes of one run must run parts of one plan: a host may have another folder under the same name, or another file.
#pragma once
#include "frontend/ir/graph.h"
#include "runtime/comm/world.h"

namespace optp {

// Together. A folder that partition wrote: its plan, and the hashes that its manifest gives of all files.
llvm::Error same_plan(World& world, llvm::StringRef folder);
// Together. The graph that is right for every rank, made from a model file; of the weights only shapes are compared.
llvm::Error same_plan(World& world, const Graph& spmd);

}  // namespace optp
