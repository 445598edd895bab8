// Any pass by its name, on any graph: what a developer's command and the tests of passes run.
#pragma once
#include "passes/passes.h"
#include "passes/training.h"

namespace optp {

// "strategy=origin", "keep-shared", "rank=1" …: one word an option, as a line of a test's text gives them.
struct NamedPassOptions {
  PassOptions passes;
  TrainingOptions training;
  int64_t rank = 0;
  // Values by name: what differentiate starts from and its gradient, what accumulate adds up, and the step's loss.
  std::string from, gradient, total, count, loss;
};
llvm::Expected<NamedPassOptions> parse_pass_options(llvm::ArrayRef<std::string> words);

std::vector<std::string> named_passes();  // the pipeline's stages in order, and what is a part or a run of them
llvm::Expected<std::unique_ptr<Graph>> run_named_pass(llvm::StringRef name, std::unique_ptr<Graph> graph,
                                                      const NamedPassOptions& options);
}  // namespace optp
