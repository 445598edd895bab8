// How much memory intermediate values take at most: a plan's one number that only the runtime knows.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {
// The graph of one of the ranks that are asked for; what is shared may be anyone's.
using RankAt = llvm::function_ref<llvm::Expected<std::shared_ptr<const Graph>>(size_t k)>;
// Fills in the devices' `activation_peak_bytes` and, if asked for the workspace, too, `arena_bytes` and what else a run
// on this machine takes, from their ranks' graphs at these dims. One graph is held at a time; of steps of several
// micro-batches all are.
llvm::Error add_activation_peaks(const Plan& plan, llvm::ArrayRef<Plan::Device*> devices, RankAt rank,
                                 const DimValues& dims, bool workspace);
// The same of each device, at the dims `examples`.
llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples, bool workspace);
}  // namespace optp
