// How the weights are cut, weights alike in one row: a part of a plan's overview in a terminal.
#pragma once
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan.h"

namespace optp {
void print_parameters(const Plan& plan, llvm::raw_ostream& out);
}  // namespace optp
