#include "frontend/ir/op.h"
#include "passes/plan/plan_parts.h"
#include "passes/rank_kinds.h"

namespace optp {
namespace {
// A node's work, from the extents of its loops: matrix products only; the rest is negligible.
Dim flops_of(const Node& node) {
  if (!node.op->flops || !node.op->rule) return 0;
  auto rule = node.op->rule(node);
  if (!rule) {
    llvm::consumeError(rule.takeError());
    return 0;
  }
  Dim n = 2;
  for (const Loop& loop : rule->loops) n = n * loop.extent;
  return n;
}
Dim flops_of(const Graph& graph) {
  Dim sum = 0;
  for (const auto& node : graph.nodes) sum = sum + flops_of(*node);
  return sum;
}
struct Work {
  int64_t state_bytes = 0, gradient_bytes = 0;
  Dim flops;
};
// What a training step keeps from step to step, and its gradients.
Work work_of(const Graph& rank, const DimValues& examples) {
  Work out;
  auto bytes = [&](const Value& v) { return number_at(product(v.type.dims), examples) * size_bytes(v.type.dtype); };
  for (const Value* v : rank.inputs)
    for (const Update& u : rank.updates)
      if (u.input == v->name && u.kind != "step") out.state_bytes += bytes(*v);
  for (const GraphOutput& o : rank.outputs)
    if (llvm::any_of(rank.gradients, [&](const GradientOutput& g) { return g.output == o.name; }))
      out.gradient_bytes += bytes(*o.value);
  out.flops = flops_of(rank);
  return out;
}
}  // namespace

void add_work(Plan& plan, const Job& job, const DimValues& examples) {
  plan.totals.flops_formula = flops_of(*job.whole);
  plan.totals.flops = number_at(plan.totals.flops_formula, examples);
  const std::vector<size_t> first = first_of_same_shapes(*job.spmd);
  std::map<size_t, Work> known;
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    auto [at, fresh] = known.try_emplace(first[r]);
    if (fresh) at->second = work_of(*job.ranks[r], examples);
    Plan::Device& d = plan.devices[r];
    d.state_bytes = at->second.state_bytes, d.gradient_bytes = at->second.gradient_bytes;
    d.flops_formula = at->second.flops, d.flops = number_at(at->second.flops, examples);
  }
}
}  // namespace optp
