#include "tools/run/activation_peak.h"

#include "passes/rank_kinds.h"
#include "runtime/executable.h"
#include "tools/run/stepper.h"

namespace optp {
llvm::Expected<int64_t> activation_peak_bytes(const Graph& rank, const DimValues& dims) {
  auto bound = bind_dims(rank, dims);
  if (!bound) return bound.takeError();
  Graph& graph = **bound;
  // What a step trains is not known before it runs.
  for (const Update& u : graph.updates)
    if (Value* v = graph.find(u.input); v && v->is_data()) graph.make_input(*v);
  if (llvm::none_of(graph.updates, is_accumulated)) {
    auto memory = Executable::plan_memory_of(graph);
    if (!memory) return memory.takeError();
    return memory->value_bytes;
  }
  int64_t most = 0;
  for (const bool last : {false, true}) {
    const auto one = graph.clone();
    keep_outputs(*one, graph.updates, last);
    one->erase_dead();
    auto memory = Executable::plan_memory_of(*one);
    if (!memory) return memory.takeError();
    most = std::max(most, memory->value_bytes);
  }
  return most;
}

llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples) {
  const std::vector<size_t> first = first_of_same_shapes(*job.spmd, examples);
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    if (first[r] == r) {
      std::unique_ptr<Graph> made;
      if (!job.ranks[r]) {
        auto rank = materialise(*job.spmd, int64_t(r));
        if (!rank) return rank.takeError();
        made = std::move(*rank);
      }
      auto bytes = activation_peak_bytes(made ? *made : *job.ranks[r], examples);
      if (!bytes) return bytes.takeError();
      plan.devices[r].activation_peak_bytes = *bytes;
    }
    plan.devices[r].activation_peak_bytes = plan.devices[first[r]].activation_peak_bytes;
  }
  return llvm::Error::success();
}
}  // namespace optp
