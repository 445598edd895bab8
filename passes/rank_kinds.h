// Most ranks of a split have graphs of the same shapes: what depends on shapes alone is computed once for these.
#pragma once
#include <vector>

#include "frontend/ir/graph.h"

namespace optp {
// For each rank the first one whose values have the same shapes where named dims have these values.
std::vector<size_t> first_of_same_shapes(const Graph& spmd, const DimValues& dims);
}  // namespace optp
