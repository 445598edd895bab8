// How much memory intermediate values take at most: a plan's one number that only the runtime knows.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {
// Fills in a device's `activation_peak_bytes` and, if asked for the workspace, too, `arena_bytes` and what else a run
// on this machine takes, from its rank's graph at these dims.
llvm::Error add_activation_peak(const Plan& plan, Plan::Device& device, const Graph& rank, const DimValues& dims,
                                bool workspace);
// The same of each device, at the dims `examples`.
llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples, bool workspace);
}  // namespace optp
