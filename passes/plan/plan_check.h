// Do the members of a plan agree? What reads a plan after this need not ask again.
#pragma once
#include "passes/plan/plan.h"

namespace optp {

// `name` stands at the start of messages. Errors: bad_input.
llvm::Error check_mesh(llvm::StringRef name, const Mesh& mesh, int64_t devices);
llvm::Error check_plan(llvm::StringRef name, const Plan& plan);

}  // namespace optp
