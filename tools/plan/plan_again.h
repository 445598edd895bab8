// A plan's job once more, from its model.
#pragma once
#include <string>
#include <vector>

#include "passes/passes.h"
#include "passes/plan/plan.h"

namespace optp {
// On another mesh, or with constraints. What a plan does not tell is left open: a file of constraints, patterns of
// frozen parameters. Its numbers are at the plan's dims. `model`: empty: the file that the plan names, here.
llvm::Expected<Plan> plan_again(const Plan& plan, const std::string& model, const Mesh& mesh,
                                std::vector<Constraint> constraints);
// The same mesh with so many devices along the axis that the strategy cuts over.
Mesh with_devices(const Mesh& mesh, int64_t along_strategy);
}  // namespace optp
