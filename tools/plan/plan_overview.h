// A plan's essence in a terminal: at most 40 lines of 80 columns for a few devices.
#pragma once
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan.h"

namespace optp {
void print_plan(const Plan& plan, llvm::raw_ostream& out);
// Every tensor, one a line: trained, frozen, constant.
void print_tensors(const Plan& plan, llvm::raw_ostream& out);
}  // namespace optp
