// What a bench writes, and how it stands beside an earlier one.
#pragma once
#include <optional>
#include <string>

#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include "passes/plan/job.h"

namespace optp {

class BenchRecord {
 public:
  // At the root, as end. `against`: the file of an earlier bench; empty: none. Read at once, so that a wrong name is
  // told before anything is timed. Errors: file_not_found, malformed.
  llvm::Error begin(std::string file, const std::string& against);
  // Adds model, machine and versions to the numbers, prints how they compare, and writes the file if one
  // is wanted.
  llvm::Error end(const Job& job, const JobOptions& options, llvm::json::Object numbers) const;

 private:
  std::string file_, against_;
  std::optional<llvm::json::Object> before_;
};

}  // namespace optp
