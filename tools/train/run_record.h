// A training run but for its arrays: how it was asked for, where it is in its data, what its losses were.
#pragma once
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"
#include "passes/training.h"
#include "tools/train/learning_rate.h"

namespace optp {

struct DataPosition {
  int64_t epoch = 0, batch = 0,
          sequence = 0;  // the next sequence in the epoch's order; it begins the epoch's batch `batch`
  uint64_t seed = 0;
  int64_t length = 0;  // of a sequence
  std::string path, blake3;
  std::string token_type;  // of a file of raw ids; empty: of others, and unknown before it was written down
};

struct RunRecord {
  std::string model_path, model_blake3;
  std::string frozen_blake3;  // of the parameters that are not trained, which the checkpoint does not hold
  Mesh mesh;
  std::string strategy;
  OptimizerOptions optimizer;
  double learning_rate = 0, max_gradient_norm = 0;
  int64_t accumulate = 1;
  std::vector<std::string> trainable, freeze, no_decay;
  Schedule schedule = Schedule::constant;
  int64_t warmup_steps = 0, total_steps = 0;  // what the schedule spans
  int64_t epochs = 0, batch = 0;
  int64_t step = 0;  // steps that were done
  DataPosition position;
  std::vector<double> losses;  // of each step
};

llvm::json::Object to_json(const RunRecord& run);
// Errors: bad_checkpoint, with the path of the member that is missing or of another type.
llvm::Expected<RunRecord> run_record_from(const llvm::json::Value& top, llvm::StringRef file);

bool same_optimizer(const OptimizerOptions& a, const OptimizerOptions& b);
std::string describe(const OptimizerOptions& options);  // "adam with beta1 0.9"

}  // namespace optp
