// How much memory intermediate values take at most: a plan's one number that only the runtime knows.
#pragma once
#include "llvm/Support/JSON.h"
#include "passes/plan/job.h"

namespace optp {
// Fills in `activation_peak_bytes` of each device, at the dims `examples`.
llvm::Error add_activation_peaks(llvm::json::Value& plan, const Job& job, const DimValues& examples);
}  // namespace optp
