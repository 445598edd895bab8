// What moved between two plans.
#pragma once
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"
#include "passes/plan/plan.h"

namespace optp {

struct PlanDiff {
  struct Change {
    std::string name, from, to;   // a sharding, "none" where a plan has no such parameter
    std::string model_name = {};  // of a parameter that the file calls otherwise
  };
  enum class Unit { count, bytes, flops };
  struct Pair {
    std::string what;
    int64_t a = 0, b = 0;
    Unit unit = Unit::count;
  };
  std::vector<Pair> numbers;               // devices
  std::vector<Change> settings;            // strategy, mesh, job
  std::vector<Change> shardings;           // of parameters, in A's order, then those that only B has
  std::vector<std::vector<Pair>> devices;  // by rank, of those that both have
  std::vector<Pair> collectives;           // numbers by kind, then bytes moved
  std::vector<Change> moved;               // collectives of one plan only: the value, its kind in A, in B
  bool same() const;
};
PlanDiff diff_plans(const Plan& a, const Plan& b);
llvm::json::Value to_json(const PlanDiff& diff);
std::string to_text(const PlanDiff& diff);  // for people; only what differs

}  // namespace optp
