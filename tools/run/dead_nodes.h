// What of rank graphs no output needs, where each process holds some of them.
#pragma once
#include "frontend/ir/graph.h"
#include "runtime/comm/world.h"

namespace optp {

// Together: as erase_dead does of graphs that are all here. What a rank elsewhere needs stays, too, so that all go
// through the same nodes and the same collectives. `graphs`: of the ranks that the world holds.
llvm::Error erase_dead(World& world, PerRank<std::unique_ptr<Graph>>& graphs);

}  // namespace optp
