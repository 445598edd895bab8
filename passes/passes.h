// Passes: each a function from graph to graph in a file of its own. Those of training are in training.h, annotate and
// those that rewrite by it in annotation.h, those of a decoder in cached_decoder.h. pipeline.h puts them in order.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"

namespace optp {

// A user's constraint on the values that a name pattern (passes/patterns.h) or an operator matches: a sharding such as
// `[_, tensor]`, or a word of Hugging Face's plans; after `held`, of how a weight is held and not of what is computed.
struct Constraint {
  std::string pattern, sharding;
  Place place;                     // where it was said: a line of a file, or a flag
  bool of_operators = false;       // the pattern is of operators, whose results are meant
  bool may_match_nothing = false;  // of a plan that was made for more models than this one
};
// constraint_words.cpp: how a pattern is written, one of operators behind `op:`.
bool consume_operator_prefix(llvm::StringRef& pattern);
std::string pattern_text(const Constraint& c);

enum class OutputLayout { whole, sharded };

// For finding the rewrite that breaks something: a pass stops after so many.
struct RewriteLimit {
  int64_t left = 0;
};

struct PassOptions {
  std::string strategy = "megatron";
  std::vector<Constraint> constraints;
  OutputLayout outputs = OutputLayout::whole;
  bool tie_weights = true;
  std::vector<std::string> tie, untie;  // patterns of weights that are tied where their contents are equal, or are not
  std::vector<std::string> trainable;   // what a pattern without * names is a parameter, whatever it looks like
  bool keep_shared = false;
  bool sequence_parallel = false;
  DType compute = DType::f32;     // of products' operands
  std::optional<Dim> kv_cache;    // a decoder with caches of so many tokens; none: the model as it is
  bool last_logits = false;       // of such a decoder: outputs of the last of a run's tokens only
  RewriteLimit* limit = nullptr;  // null: none
  // Passes that rewrite ask before each rewrite.
  bool may_rewrite() const { return !limit || limit->left-- > 0; }
};

llvm::Error absorb_transposes(Graph& graph, const PassOptions& options);
llvm::Error merge_views(Graph& graph, const PassOptions& options);
llvm::Error unshare_parameters(Graph& graph, const PassOptions& options);
llvm::Error recover_names(Graph& graph, const PassOptions& options);
llvm::Error tie_weights(Graph& graph, const PassOptions& options);
llvm::Error find_parameters(Graph& graph, const PassOptions& options);
llvm::Error precision(Graph& graph, const PassOptions& options);
llvm::Error round_products(Graph& graph, const PassOptions& options);
llvm::Error find_states(Graph& graph, const PassOptions& options);
// Of an annotated graph, or step: what the strategy's axis leaves whole is cut along the sequence of token ids. Errors:
// no such axis, nothing to cut.
llvm::Error sequence_parallel(Graph& graph, const PassOptions& options);
// Of an annotated graph: which parameters every device holds whole because the strategy cuts them not, with reasons and
// a way out, where they are more than a fiftieth of all bytes; else empty. `why` tells the reason.
std::string left_whole(const Graph& graph, const PassOptions& options,
                       llvm::function_ref<std::string(const Value&)> why);
llvm::SmallVector<MeshAxis, 2> idle_axes(const Graph& graph);  // of several devices, over which no value is split

// One SPMD graph with symbolic local shapes and collectives, right for every rank of graph.mesh.
llvm::Expected<std::unique_ptr<Graph>> split(const Graph& graph, const PassOptions& options);
// Merges small all-reduces over the same axes, in the SPMD graph.
llvm::Error combine_all_reduces(Graph& spmd, const PassOptions& options);
// Moves each update of a training step behind the last reader of what it replaces.
llvm::Error hasten_updates(Graph& graph);
llvm::Error prefetch(Graph& graph);
// This rank's graph: every part and start a number.
llvm::Expected<std::unique_ptr<Graph>> materialise(const Graph& spmd, int64_t rank);
// Where a rank has a part of a named extent and needs to know the whole, the parts are added up.
llvm::Error sum_extents(Graph& rank_graph);
// The whole graph with named dims replaced by numbers.
llvm::Expected<std::unique_ptr<Graph>> bind_dims(const Graph& graph, const DimValues& values);

// Named dims from the shapes of given inputs and `values` already known; a shape that disagrees is an error naming
// input and dim.
llvm::Expected<DimValues> bind_input_dims(
    const Graph& graph, const std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>& shapes,
    DimValues values = {});

}  // namespace optp
