// The learning rate of each step, as a factor of the one asked for.
#pragma once
#include <cstdint>
#include <optional>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

enum class Schedule { constant, linear, cosine };
std::optional<Schedule> schedule_from(llvm::StringRef text);
llvm::Expected<Schedule> parse_schedule(llvm::StringRef text);  // the flag's; usage errors
llvm::StringRef to_string(Schedule schedule);

// `step` counts from 0. Warm-up rises from 0, so with one the first step moves nothing.
double schedule_factor(Schedule schedule, int64_t step, int64_t warmup_steps, int64_t total_steps);

}  // namespace optp
