// check --train: the six groups that say whether a partitioned training step computes what the whole one does.
#pragma once
#include <string>
#include <vector>

#include "frontend/ir/diagnostic.h"
#include "passes/plan/job.h"
#include "runtime/comm/world.h"
#include "tools/check/comparison.h"

namespace optp {
class SlowNodes;
struct TrainingCheckOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir, random_weights, mutant;
  int64_t threads = 0;
  SlowNodes* slow = nullptr;  // gets what no kernel runs
};
struct TrainingCheck {
  std::vector<Row> rows;
  std::optional<Diagnostic> fault;  // the first one found; none: all groups hold
};
// Together; the root has rows and fault. `forward`: the inference job of the same options, whose forward part the step
// has, too.
llvm::Expected<TrainingCheck> check_training(const TrainingCheckOptions& options, const Job& forward, World& world);
}  // namespace optp
