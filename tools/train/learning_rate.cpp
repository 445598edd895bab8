// The definitions of transformers' optimization.py: get_constant_schedule_with_warmup, get_linear_schedule_with_warmup
// and get_cosine_schedule_with_warmup with its num_cycles of one half. t is the step, w the warm-up, n all steps:
//   t < w     t / max(1, w)
//   constant  1
//   linear    max(0, (n - t) / max(1, n - w))
//   cosine    max(0, (1 + cos(π · (t - w) / max(1, n - w))) / 2)
#include "tools/train/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "frontend/ir/diagnostic.h"

namespace optp {

std::optional<Schedule> schedule_from(llvm::StringRef text) {
  for (Schedule s : {Schedule::constant, Schedule::linear, Schedule::cosine})
    if (text == to_string(s)) return s;
  return std::nullopt;
}
llvm::Expected<Schedule> parse_schedule(llvm::StringRef text) {
  if (const auto schedule = schedule_from(text)) return *schedule;
  return error(Code::bad_value).flag("--schedule", quoted(text)).expected("constant, linear or cosine");
}
llvm::StringRef to_string(Schedule schedule) {
  switch (schedule) {
    case Schedule::constant:
      return "constant";
    case Schedule::linear:
      return "linear";
    case Schedule::cosine:
      return "cosine";
  }
  return "";
}

double schedule_factor(Schedule schedule, int64_t step, int64_t warmup_steps, int64_t total_steps) {
  if (step < warmup_steps) return double(step) / double(std::max<int64_t>(1, warmup_steps));
  const auto after = double(std::max<int64_t>(1, total_steps - warmup_steps));
  switch (schedule) {
    case Schedule::constant:
      return 1;
    case Schedule::linear:
      return std::max(0.0, double(total_steps - step) / after);
    case Schedule::cosine:
      return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * double(step - warmup_steps) / after)));
  }
  return 1;
}
}  // namespace optp
