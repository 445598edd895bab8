// A plan and its rank graphs as files.
#pragma once
#include <functional>

#include "frontend/io/output_transaction.h"
#include "passes/plan/job.h"
#include "passes/plan/plan.h"

namespace optp {
// plan.json, and of each rank its graph and its share of the weights, if the plan has these. `wrote` is told now and
// then of more bytes of weights. The caller commits.
llvm::Error write_partition(const Job& job, const Plan& plan, OutputTransaction& out,
                            const std::function<void(int64_t bytes)>& wrote = nullptr);
// One more file of text.
llvm::Error write_text_file(OutputTransaction& out, llvm::StringRef name, llvm::StringRef text);
}  // namespace optp
