// What a check found: a table for people, JSON for programs and for the plan's page (docs/check.schema.json).
#pragma once
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"
#include "passes/plan/job.h"
#include "tools/check/comparison.h"
#include "tools/run/inputs.h"

namespace optp {

struct CheckReport {
  std::string model, job, strategy;
  Mesh mesh;
  DimValues dims;
  // What nobody gave, and was taken so that there is something to check.
  struct MadeUp {
    bool devices = false;
    DimValues dims = {};
    std::vector<std::string> inputs = {};  // as rand(1)
  } made_up = {};
  std::vector<Row> rows;
  std::string fault;  // the first one found
  llvm::json::Value slow_nodes = llvm::json::Array();
  bool holds() const { return fault.empty(); }
};
std::string to_text(const CheckReport& report);
llvm::json::Value to_json(const CheckReport& report);
// What check --json wrote. Errors: bad_input, with the path of the member that is missing or of another type.
llvm::Expected<CheckReport> read_check_report(const std::string& path);

}  // namespace optp
