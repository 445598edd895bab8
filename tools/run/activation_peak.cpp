#include "tools/run/activation_peak.h"

#include "passes/rank_kinds.h"
#include "runtime/executable.h"
#include "tools/run/stepper.h"

namespace optp {
namespace {
// A node with its results in a graph, which stands once with names for its dims and once for each set of numbers that
// runs. Clones of rank graphs of OPT, GPT-2 and Llama take 370 to 580 bytes beyond the nodes and values themselves.
constexpr int64_t bytes_of_node = int64_t(sizeof(Node) + sizeof(Value) * 4 / 3) + 500;

// Pages of the program and its libraries, and of the heap, that a graph of many ops takes and one of one node does not:
// exports of OPT, GPT-2, Llama, OLMo 2 and Phi-3 take 3 to 12 MB, by how many of a library's pages the system maps at
// once.
constexpr int64_t bytes_of_program = 6 << 20;

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

// The graphs that a step runs one after the other.
using Runs = std::vector<std::unique_ptr<Graph>>;

llvm::Error add_peak(const Plan& plan, Plan::Device& device, const Runs& runs, bool workspace) {
  int64_t values = 0, arena = 0, program = bytes_of_program;
  std::optional<int64_t> looked_up;  // what no run reads but by looking it up
  for (const auto& run : runs) {
    auto memory = Executable::plan_memory_of(*run);
    if (!memory) return memory.takeError();
    values = std::max(values, memory->value_bytes);
    if (workspace && plan.is_training()) memory = Executable::plan_memory_of(*without_gradients(*run, plan));
    if (!memory) return memory.takeError();
    arena = std::max(arena, memory->arena_actual_bytes);
    looked_up = std::min(looked_up.value_or(INT64_MAX), memory->looked_up_bytes);
    // One of them with names for its dims, too.
    program += memory->step_bytes + int64_t(run->size()) * (run == runs.front() ? 2 : 1) * bytes_of_node;
  }
  device.activation_peak_bytes = values;
  if (!workspace) return llvm::Error::success();
  device.arena_bytes = arena, device.looked_up_bytes = *looked_up, device.program_bytes = program;
  return llvm::Error::success();
}
}  // namespace

llvm::Error add_activation_peaks(const Plan& plan, llvm::ArrayRef<Plan::Device*> devices, RankAt rank,
                                 const DimValues& dims, bool workspace) {
  std::vector<std::unique_ptr<Graph>> steps;
  for (size_t k = 0; k < devices.size(); ++k) {
    auto graph = rank(k);
    if (!graph) return graph.takeError();
    auto bound = bind_dims(**graph, dims);
    if (!bound) return bound.takeError();
    // What a step trains is not known before it runs.
    for (const Update& u : (*bound)->updates)
      if (Value* v = (*bound)->find(u.input); v && v->is_data()) (*bound)->make_input(*v);
    if (llvm::any_of((*bound)->updates, is_accumulated)) {
      steps.push_back(std::move(*bound));
      continue;
    }
    Runs run;
    run.push_back(std::move(*bound));
    if (auto e = add_peak(plan, *devices[k], run, workspace)) return e;
  }
  if (steps.empty()) return llvm::Error::success();
  // What a micro-batch does not need is known from all ranks.
  std::vector<Runs> runs(steps.size());
  for (const bool last : {false, true}) {
    std::vector<Graph*> graphs;
    for (size_t k = 0; k < steps.size(); ++k) {
      graphs.push_back(runs[k].emplace_back(steps[k]->clone()).get());
      keep_outputs(*graphs.back(), steps[k]->updates, last);
    }
    erase_dead(graphs);
  }
  for (size_t k = 0; k < steps.size(); ++k)
    if (auto e = add_peak(plan, *devices[k], runs[k], workspace)) return e;
  return llvm::Error::success();
}

llvm::Error add_activation_peaks(Plan& plan, const Job& job, const DimValues& examples, bool workspace) {
  const std::vector<size_t> first = first_of_same_shapes(*job.spmd, examples);
  std::vector<size_t> ranks;
  std::vector<Plan::Device*> devices;
  for (size_t r = 0; r < job.ranks.size(); ++r)
    if (first[r] == r) ranks.push_back(r), devices.push_back(&plan.devices[r]);
  auto rank = [&](size_t k) -> llvm::Expected<std::shared_ptr<const Graph>> {
    if (const Graph* known = job.ranks[ranks[k]].get()) return std::shared_ptr<const Graph>(known, [](const Graph*) {});
    auto made = materialise(*job.spmd, int64_t(ranks[k]));
    if (!made) return made.takeError();
    if (auto e = sum_extents(**made)) return e;
    return std::move(*made);
  };
  if (auto e = add_activation_peaks(plan, devices, rank, examples, workspace)) return e;
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    plan.devices[r].activation_peak_bytes = plan.devices[first[r]].activation_peak_bytes;
    plan.devices[r].arena_bytes = plan.devices[first[r]].arena_bytes;
    plan.devices[r].looked_up_bytes = plan.devices[first[r]].looked_up_bytes;
    plan.devices[r].program_bytes = plan.devices[first[r]].program_bytes;
  }
  return llvm::Error::success();
}
}  // namespace optp
