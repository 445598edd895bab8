#include "passes/plan/plan_parts.h"
#include "passes/weights.h"

namespace optp {
namespace {
Plan::Port port_of(const Value& v, llvm::StringRef name, const Sharding& sharding, Plan::Role role, Layouts& layouts) {
  Plan::Port out;
  out.name = name.str(), out.dtype = v.type.dtype, out.dims = v.type.dims;
  out.sharding = sharding, out.cause = v.cause, out.role = role;
  out.layout = layouts.of(out.dtype, out.dims, sharding);
  return out;
}
Plan::Role role_of(const UpdateKind& kind) {
  switch (kind.of) {
    case UpdateKind::parameter:
      return Plan::Role::parameter;
    case UpdateKind::step:
      return Plan::Role::step;
    case UpdateKind::accumulated:
      return Plan::Role::accumulated;
    case UpdateKind::state:
      break;
  }
  return Plan::Role::state;
}
}  // namespace
UpdateKind kind_of(const Plan::Port& port) {
  switch (port.role) {
    case Plan::Role::parameter:
      return {UpdateKind::parameter};
    case Plan::Role::step:
      return {UpdateKind::step};
    case Plan::Role::accumulated:
      return {UpdateKind::accumulated};
    default:
      return {UpdateKind::state, port.kind};
  }
}
namespace {
// What a training step's input or output is for.
void set_role(Plan::Port& port, const Graph& graph, bool input) {
  using enum Plan::Role;
  if (graph.updates.empty()) return;
  if (input && port.name == labels_name) port.role = labels;
  if (input && port.name == learning_rate_name) port.role = learning_rate;
  if (!input && port.name == loss_name) port.role = loss;
  for (const GradientOutput& g : graph.gradients)
    if (!input && g.output == port.name) port.role = gradient, port.parameter = g.parameter;
  for (const Update& u : graph.updates) {
    if ((input ? u.input : u.output) != port.name) continue;
    port.role = role_of(u.kind);
    port.parameter = u.parameter, port.kind = u.kind.state_name;
  }
}
void add_inputs(Plan& plan, const Job& job, Layouts& layouts) {
  const Graph& whole = *job.whole;
  for (const Value* v : whole.inputs) {
    Plan::Port port = port_of(*v, v->name, *v->sharding, Plan::Role::data, layouts);
    const Value* imported = nullptr;
    for (const Value* input : job.imported->inputs)
      if (input->name == v->name) imported = input;
    if (imported) port.rows = rows_indexed(*imported);
    if (!imported && v->name == labels_name && job.inference)
      if (const Value* logits = find_logits(*job.inference)) port.classes = logits->type.dims[2];
    set_role(port, whole, /*input=*/true);
    plan.inputs.push_back(std::move(port));
  }
  // A training step's parameters are inputs, too, after the others.
  for (const Value* v : whole.data())
    if (llvm::any_of(whole.updates, [&](const Update& u) { return u.input == v->name; })) {
      plan.inputs.push_back(port_of(*v, v->name, *v->sharding, Plan::Role::parameter, layouts));
      set_role(plan.inputs.back(), whole, /*input=*/true);
    }
}
}  // namespace

void add_ports(Plan& plan, const Job& job, Layouts& layouts) {
  const Graph& whole = *job.whole;
  add_inputs(plan, job, layouts);
  for (size_t k = 0; k < whole.outputs.size(); ++k) {
    const GraphOutput& o = whole.outputs[k];
    plan.outputs.push_back(
        port_of(*o.value, o.name, *job.spmd->outputs[k].value->sharding, Plan::Role::result, layouts));
    set_role(plan.outputs.back(), whole, /*input=*/false);
  }
  for (const State& s : whole.states) {
    // One that does not grow takes new rows in place.
    const Dim before = whole.find(s.input)->type.dims[size_t(s.axis)];
    const auto output = llvm::find_if(whole.outputs, [&](const GraphOutput& o) { return o.name == s.output; });
    const bool is_fixed = output->value->type.dims[size_t(s.axis)] == before;
    plan.state.push_back({s.input, s.output, s.axis, is_fixed ? std::optional<Dim>(before) : std::nullopt});
  }
  for (const Update& u : whole.updates) plan.updates.push_back({u.input, u.output});
}
}  // namespace optp
