// The next token from logits: the largest, or one at random. The numbers drawn depend on seed, row and place alone, and
// are computed in float64 from the logits, so that other device counts draw the same tokens where logits differ by
// rounding only.
#pragma once
#include <cstdint>
#include <optional>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

struct SamplingOptions {
  bool sample = false;  // else the largest logit; of equal ones the first
  double temperature = 1;
  int64_t top_k = 0;  // only the k most likely; 0: all
  double top_p = 1;   // only the fewest of the most likely that have this share together
  uint64_t seed = 0;
};

// A token of `logits`. `row`, `place`: which of the batch, which of its text.
int64_t next_token(llvm::ArrayRef<double> logits, const SamplingOptions& options, int64_t row, int64_t place);

}  // namespace optp
