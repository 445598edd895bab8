// --log: a line of JSON for each step, there as soon as the step is done.
#pragma once
#include <memory>
#include <string>

#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {

struct StepRecord {
  int64_t step, epoch;  // both from 1
  double loss, learning_rate;
  int64_t tokens;  // of this step, as are the seconds
  double seconds;
};

class TrainingLog {
 public:
  // No file if the path is empty. Lines of steps up to `step` are kept, later ones are of a run that was not saved.
  static llvm::Expected<TrainingLog> open(llvm::StringRef path, int64_t step);
  llvm::Error add(const StepRecord& record);

 private:
  std::string path_;
  std::unique_ptr<llvm::raw_fd_ostream> stream_;
};

}  // namespace optp
