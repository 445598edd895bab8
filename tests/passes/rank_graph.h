// A rank's graph of an SPMD graph, as the pipeline makes it.
#pragma once
#include "passes/passes.h"
#include "tests/must.h"

namespace optp {
inline std::unique_ptr<Graph> rank_graph(const Graph& spmd, int64_t rank) {
  auto out = must(materialise(spmd, rank));
  must(sum_extents(*out));
  return out;
}
}  // namespace optp
