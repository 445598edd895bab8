// One optimizer's update of one parameter against the same in float64 arithmetic.
#pragma once
#include <map>
#include <string>

#include "frontend/ir/host_array.h"
#include "passes/training.h"
#include "tools/check/comparison.h"

namespace optp {
constexpr double float32_rounding = 0x1p-24;

// Of a whole parameter or of a shard of it: an update treats each element alone.
struct StepOfParameter {
  using Arrays = std::map<std::string, const HostArray*, std::less<>>;  // that live elsewhere
  const Value* parameter = nullptr;
  const HostArray* gradient = nullptr;
  double clip = 1;       // that the gradient is multiplied by
  Arrays before, after;  // the parameter and its state, by the inputs' names, each as long as the gradient
  int64_t step = 0;      // steps done before
  double learning_rate = 0;
  bool decays = true;  // no --no-decay names it
};
// Adds what was compared to the row, whose error is in units of what is allowed: 16 roundings of what an element adds
// up. Gives the first difference beyond that, or none.
llvm::Expected<std::optional<Diagnostic>> compare_update(const StepOfParameter& step, const TrainingOptions& options,
                                                         Row& row);
}  // namespace optp
