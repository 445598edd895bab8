// Where the time of runs goes, as a Chrome trace: https://ui.perfetto.dev opens it, and so does chrome://tracing. A
// process is a rank; a slice of a run holds one of each phase, and these the kernels and collectives. Arrows join a
// collective's members.
#pragma once
#include <string>
#include <vector>

#include "runtime/run_ranks.h"

namespace optp {

class Trace {
 public:
  static constexpr size_t most_runs = 64;  // of more the first are kept
  // The last run of ranks that were made with a profile; of those that are held here.
  void add(llvm::StringRef what, const RankThreads& ranks);
  // Together: at the root, with those that are held elsewhere.
  llvm::Error gather(World& world);
  // Format: "Trace Event Format" (Duva et al., Google). Errors: cannot_write.
  llvm::Error write(const std::string& path, llvm::StringRef model) const;
  // What write wrote. Errors: not_found, bad_input.
  static llvm::Expected<Trace> read(const std::string& path);

  struct Run {
    std::string what;
    std::vector<std::vector<StepTime>> ranks;  // each in the order of time
    double duration_us() const;                // from the first start on any rank to the last end
  };
  llvm::ArrayRef<Run> runs() const { return runs_; }

 private:
  std::vector<Run> runs_;
};

// What the kernels and collectives of one name took together, longest first.
struct OpTime {
  std::string op;       // what is fused into a kernel goes by its first op
  std::string longest;  // the value of the longest one
  double us = 0, longest_us = 0, flops = 0;
  int64_t count = 0;
  bool collective = false;
};
std::vector<OpTime> time_by_op(llvm::ArrayRef<StepTime> steps);

// A line for people: what takes most of rank 0's time, and how fast it is.
std::string cause_of(llvm::ArrayRef<StepTime> steps);

}  // namespace optp
