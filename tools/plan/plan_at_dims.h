// The same plan with its plain numbers at other extents.
#pragma once
#include <string>

#include "passes/plan/asked_dims.h"
#include "passes/plan/plan.h"

namespace optp {
// `folder`: that the plan was read from; where it has the rank graphs, activations are planned anew from these, else
// how much they take is not known any more. Errors: a dim that the plan has not, an extent that no run could have.
llvm::Error move_to_dims(Plan& plan, const AskedDims& asked, const std::string& folder);
// How much activations take, from the rank graphs that the folder has; of others what the plan says stays.
llvm::Error plan_activations(Plan& plan, const std::string& folder);
}  // namespace optp
