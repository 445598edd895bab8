// What mutants are made of (tools/check/mutants.h): the request, and changes that several of them make.
#pragma once
#include <cstdint>

#include "frontend/ir/collective.h"
#include "frontend/ir/graph.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace optp {
struct MutantRequest {
  Graph& graph;
  int64_t rank;
  int64_t n;                 // NAME:N, 0 if not given
  llvm::StringRef argument;  // NAME:ARGUMENT as text
};

Node* nth(Graph& graph, int64_t n, llvm::function_ref<bool(const Node&)> wanted);  // null: there are fewer
// What reads the node's result takes `factor` times that.
void scale(Graph& graph, Node& node, double factor);
// What reads the node's result takes its first operand. False: there is no node.
bool leave_out(Graph& graph, Node* node);

// Faults of a mesh of two axes, and of what is cut over the axis data. False: nothing in the graph to break that way.
llvm::Expected<bool> gradient_not_summed(const MutantRequest& request);
llvm::Expected<bool> gradient_summed_twice(const MutantRequest& request);
llvm::Expected<bool> gradient_mean_for_sum(const MutantRequest& request);
llvm::Expected<bool> wrong_group(const MutantRequest& request);
llvm::Expected<bool> gradient_of_another_shard(const MutantRequest& request);
llvm::Expected<bool> stale_parameter(const MutantRequest& request);
}  // namespace optp
