// What makes a decoder of a plain model: caches for what later tokens need of earlier ones.
#pragma once
#include "frontend/ir/graph.h"

namespace optp {

// A graph that takes `capacity` tokens in all, some at each run: of a model whose ids are
// [batch, sequence], plain or with caches of its own.
//   inputs    ids and what else goes along with the new tokens, [batch, sequence]; what is about all of them, such as
//             attention_mask, [batch, capacity]; cache_position: i64[sequence], the places of the new tokens, from 0
//             on; past_key_values.N.key and .value, zeros at first, which are states
//   outputs   the model's, of the new tokens; present.N.key and .value
// Found by what an output needs, not by how positions or masks are made: see cached_decoder.cpp. Errors, with the node:
// not_a_decoder where an output needs tokens that come later, or all of them at once.
llvm::Expected<std::unique_ptr<Graph>> cached_decoder(const Graph& graph, Dim capacity);

// The input of ids, [batch, sequence], which choose rows of a table. Errors: there is none, or its sequence has no
// name.
llvm::Expected<const Value*> ids_of(const Graph& graph);

// Whether each softmax over the tokens leaves out those that come later, by the masks that the graph computes.
llvm::Error is_causal(const Graph& graph, Dim sequence, llvm::ArrayRef<const Node*> softmaxes);

}  // namespace optp
