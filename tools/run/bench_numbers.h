// What a bench measures of runs that are all alike, and tells.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "llvm/ADT/STLFunctionalExtras.h"
#include "runtime/run_ranks.h"
#include "tools/run/bench_record.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/trace.h"

namespace optp {

// What all ranks have, added up; of arenas the largest.
struct BenchTotals {
  double flops = 0;  // of a run
  int64_t parameter_bytes = 0, packed_bytes = 0, arena_bytes = 0;
};
// Together; at the root. `kept`: bytes of parameters and state that a rank is given at each run.
llvm::Expected<BenchTotals> totals_of(
    World& world, const RankThreads& ranks, llvm::function_ref<int64_t(size_t rank)> kept = [](size_t) { return 0; });

// Milliseconds, ascending.
struct BenchTimes {
  std::vector<double> ms;
  double median() const { return ms.size() % 2 ? ms[ms.size() / 2] : (ms[ms.size() / 2 - 1] + ms[ms.size() / 2]) / 2; }
  double p90() const { return ms[std::min(ms.size() - 1, size_t(double(ms.size()) * 0.9))]; }
};

// Where rank 0's time goes; at the root.
struct BenchProfile {
  double in_collectives = 0, in_all = 0;
  std::string cause;
  double share() const { return in_all > 0 ? in_collectives / in_all : 0; }
  static BenchProfile of(llvm::ArrayRef<StepTime> steps);
};

struct BenchResult {
  BenchTimes times;
  BenchTotals totals;
  BenchProfile profile;
  SlowNodes slow;
  int64_t tokens = 1;  // of a run
  int threads = 1;     // of a device
};
// At the root.
llvm::Error report(const BenchRecord& record, const Job& job, const JobOptions& options, const BenchResult& result);
// Together: into `file`, if one is named.
llvm::Error write_timeline(World& world, Trace& trace, const std::string& file, const Job& job);

}  // namespace optp
