#include "passes/plan/write_partition.h"

#include "frontend/onnx/export.h"
#include "passes/plan/plan_json.h"

namespace optp {
llvm::Error write_text_file(OutputTransaction& out, llvm::StringRef name, llvm::StringRef text) {
  auto file = out.create(name);
  if (!file) return file.takeError();
  if (auto e = (*file)->write(text)) return e;
  return (*file)->finish();
}

llvm::Error write_partition(const Job& job, const Plan& plan, OutputTransaction& out,
                            const std::function<void(int64_t bytes)>& wrote) {
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    const ExportOptions options{.metadata = {{"devices", std::to_string(job.ranks.size())},
                                             {"mesh", to_string(job.whole->mesh)},
                                             {"strategy", job.passes.strategy},
                                             {"job", to_string(plan.job).str()}},
                                .weights = plan.weights,
                                .wrote = wrote};
    if (auto e = write_rank_model(*job.ranks[r], out, "rank" + std::to_string(r), options)) return e;
  }
  return write_text_file(out, "plan.json", to_text(plan));
}
}  // namespace optp
