// Where the time of runs goes, as a Chrome trace: https://ui.perfetto.dev opens it, and so does chrome://tracing. A process is a
// rank; a slice of a run holds one of each phase, and these the kernels and collectives. Arrows join a collective's members.
#pragma once
#include <string>
#include <vector>

#include "runtime/run_ranks.h"

namespace optp {

class Trace {
 public:
  static constexpr size_t most_runs = 64;  // of more the first are kept
  // The last run of ranks that were made with a profile.
  void add(llvm::StringRef what, const RankThreads& ranks);
  // Format: "Trace Event Format" (Duva et al., Google). Errors: cannot_write.
  llvm::Error write(const std::string& path, llvm::StringRef model) const;

 private:
  struct Run {
    std::string what;
    std::vector<std::vector<StepTime>> ranks;
  };
  std::vector<Run> runs_;
};

// A line for people: what takes most of rank 0's time, and how fast it is.
std::string cause_of(llvm::ArrayRef<StepTime> steps);

}  // namespace optp
