// The plan of a job that has gone through all passes.
#pragma once
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {

// `examples`: the dims at which plain numbers are given. `version`: of the program. `weights`: they are written. What
// only the runtime knows (activation_peak_bytes) is left open.
Plan make_plan(const Job& job, const DimValues& examples, llvm::StringRef version, bool weights);
// All dims of the graph: as asked, else 1 (batch), 128 (sequence).
DimValues example_dims(const Graph& graph, const DimValues& asked);
// The dims that stand where ids have batch and sequence, at these extents, the sequence at less where tables are short
// beside what is asked.
DimValues usual_dims(const Graph& graph, const DimValues& asked, int64_t batch, int64_t sequence);
bool weights_missing(const Graph& graph);

}  // namespace optp
