// bench --decode: how long a token takes, with cached keys and values.
#pragma once
#include <string>

#include "passes/plan/job.h"
#include "runtime/comm/world.h"
#include "tools/run/bench_record.h"

namespace optp {

struct BenchDecodeOptions {
  JobOptions job;
  int64_t tokens = 1;   // after a prompt
  int64_t threads = 0;  // per device; 0: the cores shared out
  std::string random_weights, profile;
};
// Together. Of a job whose options asked for caches. The prompt: as many rows and tokens as the asked dims say of the
// ids, else 1 and 128.
llvm::Error bench_decode(Job& job, World& world, const BenchRecord& record, const BenchDecodeOptions& options);

}  // namespace optp
