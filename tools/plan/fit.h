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
  int64_t weight_bytes = 0;  // parameters and constants, without tables that are only looked up and stay in their file
  int64_t gradient_bytes = 0, state_bytes = 0;
  std::optional<int64_t> activation_bytes;  // as the runtime plans them; none: not known
  int64_t port_bytes = 0;                   // inputs and results that are no caches
  int64_t cache_bytes = 0;                  // keys and values: one that grows is there before and after a step
  int64_t program_bytes = 0;                // what the graph and the steps that run it take themselves
  int64_t file_bytes = 0;                   // of those tables; not part of the total
  int64_t total_bytes() const {
    return weight_bytes + gradient_bytes + state_bytes + activation_bytes.value_or(0) + port_bytes + cache_bytes +
           program_bytes;
  }
};
// At the plan's dims, with the caches of `decoder`, if the graph has none and there is one.
std::vector<DeviceMemory> memory_of(const Plan& plan, const Plan* decoder = nullptr);

struct Fit {
  int64_t limit_bytes = 0;
  std::vector<DeviceMemory> devices;
  // Where keys and values are kept: in caches of the graph, in those that generate would make of it, or nowhere.
  enum class Cache { none, graph, decoder };
  Cache cache = Cache::none;
  int64_t cached_tokens = 0;   // of a sequence, in a decoder's caches
  std::string cache_why_none;  // empty: a training step
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
// What each of so many devices along the strategy's axis holds.
using MemoryOn = std::function<llvm::Expected<std::vector<DeviceMemory>>(int64_t devices)>;
llvm::Expected<std::optional<Fit::Smallest>> smallest_that_fits(int64_t limit_bytes, const MemoryOn& memory_on);
constexpr int64_t most_devices_tried = 1024;

std::string to_text(const Fit& fit, const Plan& plan);
llvm::json::Value to_json(const Fit& fit, const Plan& plan);  // docs/fit.schema.json
std::string smallest_text(const Fit& fit);  // "8 devices, the largest with 2 GiB", or why there are none
std::string file_text(const Fit& fit);      // a sentence about tables that stay in their file; empty: there are none
std::string cache_text(const Fit& fit);     // a sentence about keys and values; empty of a training step
// An error where the devices, whose number was asked for, are too small, or any number of them is.
llvm::Error must_fit(const Fit& fit, const Plan& plan, bool is_asked_for);

}  // namespace optp
