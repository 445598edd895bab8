// One pass on a graph that is given as text: what a developer looks at, and where a test's text comes from.
#pragma once
#include <string>
#include <vector>

#include "llvm/Support/Error.h"

namespace optp {
struct RunPassOptions {
  std::string pass, file;            // the graph, in the form of docs/ir.md
  std::vector<std::string> options;  // as passes/named_passes.h has them
};
llvm::Error print_after_pass(const RunPassOptions& options);
}  // namespace optp
