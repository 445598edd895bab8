#include "tools/run/activation_peak.h"

#include "passes/rank_kinds.h"
#include "runtime/executable.h"
#include "tools/run/stepper.h"

namespace optp {
namespace {
// A node with its results in a graph, which stands once with names for its dims and once for each set of numbers that
// runs. Clones of rank graphs of OPT, GPT-2 and Llama take 370 to 580 bytes beyond the nodes and values themselves.
constexpr int64_t bytes_of_node = int64_t(sizeof(Node) + sizeof(Value) * 4 / 3) + 500;

// As train runs it: a gradient is let go of behind the update that takes it.
std::unique_ptr<Graph> without_gradients(const Graph& rank, const Plan& plan) {
  std::unique_ptr<Graph> out = rank.clone();
  llvm::erase_if(out->outputs, [&](const GraphOutput& o) {
    return llvm::any_of(plan.outputs,
                        [&](const Plan::Port& p) { return p.role == Plan::Role::gradient && p.name == o.name; });
  });
  out->erase_dead();
  return out;
}
}  // namespace

llvm::Error add_activation_peak(const Plan& plan, Plan::Device& device, const Graph& rank, const DimValues& dims,
                                bool workspace) {
  auto bound = bind_dims(rank, dims);
  if (!bound) return bound.takeError();
  Graph& graph = **bound;
  // What a step trains is not known before it runs.
  for (const Update& u : graph.updates)
    if (Value* v = graph.find(u.input); v && v->is_data()) graph.make_input(*v);
  int64_t values = 0, arena = 0, looked_up = 0, program = 0;
  bool is_first = true;
  const auto add = [&](const Graph& one) -> llvm::Error {
    auto memory = Executable::plan_memory_of(one);
    if (!memory) return memory.takeError();
    values = std::max(values, memory->value_bytes);
    if (workspace && plan.is_training()) memory = Executable::plan_memory_of(*without_gradients(one, plan));
    if (!memory) return memory.takeError();
    arena = std::max(arena, memory->arena_actual_bytes);
    looked_up = memory->looked_up_bytes;
    program += memory->step_bytes + int64_t(one.size()) * (is_first ? 2 : 1) * bytes_of_node;
    is_first = false;
    return llvm::Error::success();
  };
  if (llvm::none_of(graph.updates, is_accumulated)) {
    if (auto e = add(graph)) return e;
  } else {
    for (const bool last : {false, true}) {
      const auto one = graph.clone();
      keep_outputs(*one, graph.updates, last);
      one->erase_dead();
      if (auto e = add(*one)) return e;
    }
  }
  device.activation_peak_bytes = values;
  if (!workspace) return llvm::Error::success();
  device.arena_bytes = arena, device.looked_up_bytes = looked_up, device.program_bytes = program;
  return llvm::Error::success();
}

llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples, bool workspace) {
  const std::vector<size_t> first = first_of_same_shapes(*job.spmd, examples);
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    if (first[r] == r) {
      std::unique_ptr<Graph> made;
      if (!job.ranks[r]) {
        auto rank = materialise(*job.spmd, int64_t(r));
        if (!rank) return rank.takeError();
        made = std::move(*rank);
        if (auto e = sum_extents(*made)) return e;
      }
      if (auto e = add_activation_peak(plan, plan.devices[r], made ? *made : *job.ranks[r], examples, workspace))
        return e;
    }
    plan.devices[r].activation_peak_bytes = plan.devices[first[r]].activation_peak_bytes;
    plan.devices[r].arena_bytes = plan.devices[first[r]].arena_bytes;
    plan.devices[r].looked_up_bytes = plan.devices[first[r]].looked_up_bytes;
    plan.devices[r].program_bytes = plan.devices[first[r]].program_bytes;
  }
  return llvm::Error::success();
}
}  // namespace optp
