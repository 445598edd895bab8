// The float64 reference interpreter: each op by its own `evaluate`, collectives among simulated ranks in lockstep.
// Slow and simple; what the runtime and the splitting are compared with.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"

namespace optp {

using NamedArrays = std::map<std::string, Array, std::less<>>;

// Sees each result as it is made: the first rank's node, the value in each rank's graph, and what each rank holds.
using ReferenceTap =
    std::function<llvm::Error(const Node&, llvm::ArrayRef<const Value*>, llvm::ArrayRef<const Array*>)>;

// Gets each result of rank 0, but those that are the graph's outputs, when all that read it have run.
using ReferenceSink = std::function<void(const Value&, Array)>;

// What a value of half precision is: the number that was computed, which has slopes, or that number rounded.
enum class HalfValues { exact, rounded };

// The graphs differ only in extents (one SPMD graph, materialised and bound); inputs are each rank's own.
llvm::Expected<std::vector<NamedArrays>> run_reference(llvm::ArrayRef<const Graph*> ranks,
                                                       llvm::ArrayRef<NamedArrays> inputs,
                                                       const ReferenceTap& tap = nullptr,
                                                       HalfValues halves = HalfValues::exact,
                                                       const ReferenceSink& sink = nullptr);

}  // namespace optp
