// Weights drawn from a seed in place of a file that is not there, for runs of models that were planned without weights.
#pragma once
#include <string>

#include "frontend/ir/graph.h"

namespace optp {

llvm::Expected<uint64_t> parse_seed(llvm::StringRef text);

// Normal numbers of deviation 0.02, about 1 for what scales a norm and about 0 for all else. An element depends on the
// seed, the tensor's name and the element's place in the whole tensor alone: a rank draws what the whole model has
// there. Tensors of one name are one in all graphs, and a tied copy is what it is tied to.
void draw_weights(llvm::ArrayRef<Graph*> graphs, uint64_t seed);

// A rank's graph as it was read back: `find` says which shard of which whole tensor it has under a name.
llvm::Error draw_shards(Graph& rank, uint64_t seed, llvm::function_ref<llvm::Expected<Shard>(const Value&)> find);

// An error that names the first file of weights that is missing.
llvm::Error need_weights(const Graph& graph);

}  // namespace optp
