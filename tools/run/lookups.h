// Are the rows there that a model's own arithmetic will ask its tables for? Positions are counted from shapes and
// masks: how long a sequence may be is known before anything is computed.
#pragma once
#include "frontend/ir/graph.h"
#include "frontend/ir/host_array.h"

namespace optp {
// Of lookups whose indices no product of activations decides. Errors: out_of_range, with the node, the table's rows and
// the largest index that is none.
llvm::Error check_lookups(const Graph& model, const HostArrays& inputs, const DimValues& dims);
}  // namespace optp
