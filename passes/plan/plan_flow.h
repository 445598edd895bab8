// The plan's `flow`: the forward graph as people draw it, and the names that plans give to nodes. docs/plan-schema.md,
// section 6.
#pragma once
#include <string>

#include "llvm/Support/JSON.h"
#include "passes/plan/job.h"

namespace optp {

// The nodes that use a parameter, products, norms, softmax, activation functions and joins of branches, and the
// collectives between them.
llvm::json::Array plan_flow(const Job& job);
std::string node_name(const Node& node);
// The nodes that take a value, and the outputs that give it.
llvm::json::Array consumers(const Graph& graph, const Value& value);

}  // namespace optp
