// bench --train: how long a training step takes.
#pragma once
#include <string>
#include <vector>

#include "passes/plan/job.h"
#include "runtime/comm/world.h"
#include "tools/run/bench_record.h"

namespace optp {

struct BenchTrainOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir;
  int64_t runs = 20, warm_up = 3;
  int64_t threads = 0;  // per device; 0: the cores shared out
  std::string random_weights, profile;
};
// Together. Of a training job, whose rank graphs it takes: steps on one batch, with its labels, of as many
// micro-batches as the job accumulates.
llvm::Error bench_training(Job& job, World& world, const BenchRecord& record, const BenchTrainOptions& options);

}  // namespace optp
