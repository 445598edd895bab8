// Does each device have memory enough for its part?
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "llvm/Support/JSON.h"
#include "passes/plan/plan.h"

namespace optp {

struct DeviceMemory {
  int64_t rank = 0;
  int64_t weight_bytes = 0;  // parameters and constants
  int64_t gradient_bytes = 0, state_bytes = 0;
  std::optional<int64_t> activation_bytes;  // as the runtime plans them; none: not known
  int64_t port_bytes = 0;                   // inputs and results that are no caches
  int64_t cache_bytes = 0;                  // keys and values: one that grows is there before and after a step
  int64_t total_bytes() const {
    return weight_bytes + gradient_bytes + state_bytes + activation_bytes.value_or(0) + port_bytes + cache_bytes;
  }
};
std::vector<DeviceMemory> memory_of(const Plan& plan);  // at its dims

struct Fit {
  int64_t limit_bytes = 0;
  std::vector<DeviceMemory> devices;
  // The fewest devices along the strategy's axis with which each fits. None: not with the most that were tried, or
  // `why_not`, it could not be asked.
  struct Smallest {
    int64_t devices = 0, largest_bytes = 0;  // of all axes
  };
  std::optional<Smallest> smallest;
  std::string why_not;
  bool fits(const DeviceMemory& d) const { return d.total_bytes() <= limit_bytes; }
  bool fits() const;
};
// The plan with so many devices along the strategy's axis.
using PlanOn = std::function<llvm::Expected<Plan>(int64_t devices)>;
llvm::Expected<std::optional<Fit::Smallest>> smallest_that_fits(int64_t limit_bytes, const PlanOn& plan_on);
constexpr int64_t most_devices_tried = 1024;

std::string to_text(const Fit& fit, const Plan& plan);
llvm::json::Value to_json(const Fit& fit, const Plan& plan);  // docs/fit.schema.json
std::string smallest_text(const Fit& fit);                    // "8 devices do", or why there are none

}  // namespace optp
