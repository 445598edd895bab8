// What makes a decoder of a plain model: caches for what later tokens need of earlier ones.
#pragma once
#include <optional>
#include <string>

#include "frontend/ir/graph.h"

namespace optp {

// A graph that takes `capacity` tokens in all, some at each run: of a model whose ids are
// [batch, sequence], plain or with caches of its own.
//   inputs    ids and what else goes along with the new tokens, [batch, sequence]; what is about all of them, such as
//             attention_mask, [batch, capacity]; cache_position: i64[sequence], the places of the new tokens, from 0
//             on; past_key_values.N.key and .value, zeros at first, which are states
//   outputs   the model's, of the new tokens; present.N.key and .value
// Found by what an output needs, not by how positions or masks are made: see cached_decoder.cpp. Errors, with the node:
// an output needs tokens that come later, or all of them at once.
llvm::Expected<std::unique_ptr<Graph>> cached_decoder(const Graph& graph, Dim capacity);

// Rows of earlier runs, which a decoder takes and gives back with the new ones.
struct TokenCache {
  const Value* of;  // in the plain model
  Value *input, *output;
  size_t axis;
};
// Makes them states: past_key_values.N.key and .value, present.N.key and .value, in the order of the model's layers.
// What a softmax's result is multiplied with are values, the others keys.
void name_caches(Graph& decoder, std::vector<TokenCache> caches, const Graph& model);
// Whether v is a softmax's result, or what becomes of it before the product: cut, scaled, NaN taken out.
bool is_shared_out(const Value& v);

// The same model with no token before the first, without its own caches. Errors: a cache that is not only joined with
// new rows.
llvm::Expected<std::unique_ptr<Graph>> without_past(const Graph& graph);

// The input of ids, [batch, sequence], which choose rows of a table. Errors: there is none, or its sequence has no
// name.
llvm::Expected<const Value*> ids_of(const Graph& graph);

// Of the outputs the one that scores next tokens: "logits", or the widest; hidden states are given beside them. What is
// given once a row, [rows, n], has to have a class for each of so many ids, or it is no next token's. Null: none could.
const GraphOutput* logits_among(const Graph& graph, Dim rows, int64_t ids);

// A softmax over tokens, or the largest number of all: its operand's dim of tokens.
struct SumOverTokens {
  const Node* node;
  size_t axis;
  bool operator==(const SumOverTokens&) const = default;
};
// Whether each of these leaves out tokens that come later, by the masks that the graph computes.
llvm::Error is_causal(const Graph& graph, Dim sequence, llvm::ArrayRef<SumOverTokens> sums);

// What no id changes and a node takes beside what they do.
struct BesideTokens {
  const Value* value;
  std::optional<size_t> shifted;  // a dim along which one number may be added to all: of what is added to scores
  bool operator==(const BesideTokens&) const = default;
};
// Whether each of these is the same for a token however many follow, up to `capacity`; a name: up to any number.
llvm::Error is_prefix_stable(const Graph& graph, Dim sequence, Dim capacity, llvm::ArrayRef<BesideTokens> values);

// Of a cached decoder: all that is computed for outputs alone is computed for the last of a run's tokens, and they are
// [batch, 1, …].
llvm::Error keep_last_logits(Graph& decoder);

// How many tokens the tables of a cached decoder have room for, such as one of positions.
struct TokenLimit {
  int64_t tokens;
  std::string table;
};
// None: any number. Of tables that are read at ids nothing is asked.
llvm::Expected<std::optional<TokenLimit>> token_limit(const Graph& decoder);
llvm::Error too_many_tokens(const Graph& decoder, const TokenLimit& limit, int64_t tokens);

}  // namespace optp
