// What a training step is checked and timed on: two batches of the same extents, with labels.
#pragma once
#include <string>
#include <vector>

#include "passes/plan/job.h"
#include "runtime/comm/per_rank.h"
#include "tools/run/inputs.h"

namespace optp {

struct ExampleBatch {
  HostArrays whole;
  PerRank<HostArrays> ranks;
};
// The first batch is given, read from `folder` or made; the second is drawn. `dims` takes the extents that inputs say.
// `ranks`: those to cut for.
llvm::Expected<std::vector<ExampleBatch>> make_example_batches(const Job& job, llvm::ArrayRef<std::string> given,
                                                               const std::string& folder, DimValues& dims,
                                                               llvm::ArrayRef<size_t> ranks);
}  // namespace optp
