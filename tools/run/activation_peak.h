// How much memory intermediate values take at most: a plan's one number that only the runtime knows.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {
// Of one rank's graph, at these dims.
llvm::Expected<int64_t> activation_peak_bytes(const Graph& rank, const DimValues& dims);
// Fills in `activation_peak_bytes` of each device, at the dims `examples`.
llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples);
}  // namespace optp
