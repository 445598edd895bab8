// What check and bench do before they compute: weights that are there, inputs whose extents are all known, each rank's
// part.
#pragma once
#include "llvm/ADT/StringSet.h"
#include "passes/plan/job.h"
#include "tools/run/inputs.h"

namespace optp {

// Draws weights whose file is missing, where a seed is given; an error names one that is then still missing.
llvm::Error prepare_weights(Job& job, llvm::StringRef random_weights);
// What nobody gave.
struct Invented {
  DimValues usual, dims;            // dims that may be taken where they stay open; those that were
  std::vector<std::string> inputs;  // made as rand(1)
};
// The model's inputs: given, read from `folder`, or made. `dims` says extents and takes those that the inputs say; a
// named dim that stays open is an error, but for those of `invented`.
llvm::Expected<HostArrays> prepare_inputs(const Graph& imported, llvm::ArrayRef<std::string> given,
                                          llvm::StringRef folder, DimValues& dims, Invented* invented = nullptr);
// Slices whole arrays for one rank; ignores inputs that are not given.
HostArrays take_shards(const HostArrays& whole, const Graph& rank_graph, const Mesh& mesh, int64_t rank);

// The outputs that a rank before this one has, too.
llvm::StringSet<> copied_outputs(const Graph& rank_graph, const Mesh& mesh, int64_t rank);

}  // namespace optp
