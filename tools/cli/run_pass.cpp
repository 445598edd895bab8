#include "tools/cli/run_pass.h"

#include "frontend/io/input_folder.h"
#include "frontend/ir/parse.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/named_passes.h"

namespace optp {
llvm::Error print_after_pass(const RunPassOptions& o) {
  constexpr int64_t most_bytes = 1 << 28;
  auto options = parse_pass_options(o.options);
  if (!options) return options.takeError();
  auto file = open_input_file(o.file, most_bytes);
  if (!file) return file.takeError();
  auto graph = parse_graph((*file)->text(), o.file);
  if (!graph) return graph.takeError();
  auto after = run_named_pass(o.pass, std::move(*graph), *options);
  if (!after) return after.takeError();
  print(llvm::outs(), **after);
  return llvm::Error::success();
}
}  // namespace optp
