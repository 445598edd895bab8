// How much memory intermediate values take at most: a plan's one number that only the runtime knows.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {
// Fills in `activation_peak_bytes` of each device, at the dims `examples`.
llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples);
}  // namespace optp
