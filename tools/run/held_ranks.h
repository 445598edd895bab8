// The ranks' graphs of a folder that partition wrote.
#pragma once
#include <string>

#include "frontend/ir/graph.h"
#include "passes/plan/plan.h"
#include "runtime/comm/world.h"

namespace optp {

// Are the files what the manifest says? What only a rank that is held elsewhere reads is compared there. Errors: the
// first file that is not there, or of another size or hash.
llvm::Error verify_held(const std::string& folder, const Plan& plan, const World& world);
// Of the ranks that the world holds. `random_weights`: a seed for weights whose file is missing; empty: none may be.
llvm::Expected<PerRank<std::unique_ptr<Graph>>> read_held(const std::string& folder, const Plan& plan,
                                                          const World& world, llvm::StringRef random_weights);

}  // namespace optp
