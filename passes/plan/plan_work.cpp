#include "frontend/ir/op.h"
#include "llvm/ADT/StringSet.h"
#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
Dim flops_of(const Graph& graph) {
  Dim sum = 0;
  for (const auto& node : graph.nodes) sum = sum + flops_of(*node);
  return sum;
}
// Of any rank, until a rank is bound: what a training step keeps from step to step, its gradients, its products.
struct Work {
  Dim state_bytes, gradient_bytes, flops;
};
Work work_of(const Graph& spmd) {
  Work out{0, 0, flops_of(spmd)};
  auto bytes = [](const Value& v) { return product(v.type.dims) * size_bytes(v.type.dtype); };
  llvm::StringSet<> states, gradients;
  for (const Update& u : spmd.updates)
    if (u.kind.of != UpdateKind::step) states.insert(u.input);
  for (const GradientOutput& g : spmd.gradients) gradients.insert(g.output);
  for (const Value* v : spmd.inputs)
    if (states.contains(v->name)) out.state_bytes = out.state_bytes + bytes(*v);
  for (const GraphOutput& o : spmd.outputs)
    if (gradients.contains(o.name)) out.gradient_bytes = out.gradient_bytes + bytes(*o.value);
  return out;
}
}  // namespace

void add_work(Plan& plan, const Job& job, const DimValues& examples) {
  plan.totals.flops_formula = flops_of(*job.whole);
  plan.totals.flops = number_at(plan.totals.flops_formula, examples);
  const Work work = work_of(*job.spmd);
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    auto own = [&](Dim d) { return bind_rank(d, job.spmd->mesh, int64_t(r)); };
    Plan::Device& d = plan.devices[r];
    d.state_bytes = number_at(own(work.state_bytes), examples);
    d.gradient_bytes = number_at(own(work.gradient_bytes), examples);
    d.flops_formula = own(work.flops), d.flops = number_at(d.flops_formula, examples);
  }
}
}  // namespace optp
