// A plan's essence in a terminal: at most 40 lines of 80 columns for a few devices.
#pragma once
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
void print_plan(const llvm::json::Object& plan, llvm::raw_ostream& out);
// Every tensor, one a line: trained, frozen, constant.
void print_tensors(const llvm::json::Object& plan, llvm::raw_ostream& out);
}  // namespace optp
