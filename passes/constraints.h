// What users' constraints mean: a pattern and a word or sharding, resolved to values and their shardings.
#pragma once
#include <utility>
#include <vector>

#include "passes/factors.h"
#include "passes/passes.h"

namespace optp {
// Errors (usage, with the constraint's place): a pattern that matches nothing, a word that fits none of the matched
// values, an axis that the mesh has not.
llvm::Expected<std::vector<std::pair<Value*, Sharding>>> resolve_constraint(const Graph& graph, const Factors& factors,
                                                                            const Constraint& constraint);
}  // namespace optp
