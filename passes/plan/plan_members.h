// The members of plan.json: each struct's are listed once, in `members`, by which write_plan.cpp writes and
// read_plan.cpp reads it. `io(name, member)` is a member that is always there; `io.optional` one that is left out where
// it says nothing; `io.given` one that the struct may lack and the file may not.
#pragma once
#include <concepts>

#include "passes/plan/plan_json.h"

namespace optp {

constexpr llvm::StringLiteral plan_format = "opt-partition plan";

// What entries refer to.
struct PlanTables {
  std::vector<std::shared_ptr<const Plan::Layout>> layouts;
  std::map<const Plan::Layout*, int64_t> layout_index;
  std::map<std::string, llvm::ArrayRef<Dim>, std::less<>> value_dims;  // by name
  int64_t devices = 1;
  DimBounds bounds;
};

// The values of an enum, which a file names as to_string does.
template <typename E>
struct EnumValues;
template <>
struct EnumValues<Plan::Job> {
  static constexpr Plan::Job all[] = {Plan::Job::inference, Plan::Job::training};
};
template <>
struct EnumValues<OutputLayout> {
  static constexpr OutputLayout all[] = {OutputLayout::whole, OutputLayout::sharded};
};
template <>
struct EnumValues<Plan::Role> {
  using enum Plan::Role;
  static constexpr Plan::Role all[] = {data,     labels,    learning_rate, result, loss,
                                       gradient, parameter, state,         step,   accumulated};
};
template <>
struct EnumValues<CauseKind> {
  static constexpr auto& all = all_cause_kinds;
};
template <>
struct EnumValues<RemarkKind> {
  static constexpr auto& all = all_remark_kinds;
};
template <>
struct EnumValues<Phase> {
  using enum Phase;
  static constexpr Phase all[] = {forward, loss, backward, optimizer};
};
template <>
struct EnumValues<Reduce> {
  static constexpr Reduce all[] = {Reduce::sum, Reduce::max, Reduce::min};
};
template <>
struct EnumValues<Collective> {
  static constexpr auto& all = collective_ops;
};
template <typename E>
concept NamedEnum = requires { EnumValues<E>::all; };

template <typename M, typename T>
concept Like = std::same_as<std::remove_const_t<M>, T>;

void members(auto& io, Like<Plan::Model> auto& m) { io("name", m.name), io("graph", m.graph); }
void members(auto& io, Like<MeshAxis> auto& m) { io("name", m.name), io("size", m.size); }
void members(auto& io, Like<Plan::DimInfo> auto& m) {
  io("min", m.min), io("example", m.example), io.optional("equals", m.equals);
}
void members(auto& io, Like<Plan::Guard> auto& m) {
  io("left", m.left), io("right", m.right), io("because", m.because);
}
void members(auto& io, Like<Cause> auto& m) { io("kind", m.kind), io("text", m.text), io.optional("from", m.from); }
void members(auto& io, Like<Plan::RankShard> auto& m) {
  io("ranks", m.ranks), io.shard(m.shard), io("elements", m.elements), io("bytes", m.bytes);
}
void members(auto& io, Like<Plan::Layout> auto& m) {
  io("dtype", m.dtype), io("shape", m.dims), io.sharding(m.sharding, m.dims), io.shards(m);
}
void tensor_members(auto& io, auto& m) {
  io("name", m.name), io("dtype", m.dtype), io("shape", m.dims), io.sharding(m.sharding, m.dims), io("cause", m.cause);
}
void members(auto& io, Like<Plan::Value> auto& m) {
  tensor_members(io, m), io.optional("phase", m.phase), io.optional("module", m.module), io.optional("node", m.node);
}
void members(auto& io, Like<Plan::Port> auto& m) {
  tensor_members(io, m), io.layout(m), io("role", m.role);
  io.optional("parameter", m.parameter), io.optional("kind", m.kind), io.optional("rows", m.rows),
      io.optional("classes", m.classes);
}
void constant_members(auto& io, auto& m) {
  tensor_members(io, m), io.layout(m), io("aliases", m.aliases);
  io.optional("model_name", m.model_name), io.optional("model_aliases", m.model_aliases);
  io("elements", m.elements), io("bytes", m.bytes);
}
void members(auto& io, Like<Plan::Constant> auto& m) { constant_members(io, m); }
void members(auto& io, Like<Plan::Parameter> auto& m) {
  constant_members(io, m), io("trained", m.trained), io.optional("transposed_aliases", m.transposed_aliases);
}
void members(auto& io, Like<Plan::State> auto& m) {
  io("input", m.input), io("output", m.output), io("axis", m.axis), io.optional("capacity", m.capacity);
}
void members(auto& io, Like<Plan::Update> auto& m) { io("input", m.input), io("output", m.output); }
void members(auto& io, Like<TrainingOptions> auto& m) {
  auto& o = m.optimizer;
  io("optimizer", o.name), io.given("learning_rate", m.learning_rate), io("max_grad_norm", m.max_gradient_norm);
  io("accumulate", m.accumulate), io("nesterov", o.nesterov), io("centered", o.centered);
  io.optional("momentum", o.momentum), io.optional("weight_decay", o.weight_decay), io.optional("beta1", o.beta1);
  io.optional("beta2", o.beta2), io.optional("eps", o.epsilon), io.optional("alpha", o.alpha);
  io.optional("no_decay", m.no_decay), io.optional("zero", m.zero), io.optional("recompute", m.recompute);
  io.optional("loss_chunks", m.loss_chunks);
}
void members(auto& io, Like<Plan::RequestedConstraint> auto& m) {
  io("pattern", m.pattern), io("sharding", m.sharding);
  io.optional("file", m.file), io.optional("line", m.line), io.optional("flag", m.flag);
  io.optional("of_operators", m.of_operators), io.optional("may_match_nothing", m.may_match_nothing);
}
void members(auto& io, Like<Plan::Request> auto& m) {
  io.optional("constraints", m.constraints), io.optional("tie", m.tie), io.optional("untie", m.untie);
  io.optional("trainable", m.trainable), io.optional("freeze", m.freeze), io.optional("untied", m.untied);
  io.optional("keep_shared", m.keep_shared), io.optional("kv_cache", m.kv_cache);
}
void call_members(auto& io, auto& call) {
  using Name = llvm::StringLiteral;
  io("id", call.id), io("kind", call.kind), io("axes", call.axes);
  io("dtype", call.dtype), io("shape", call.dims), io("reason", call.reason);
  if (reduces(call.kind)) io("reduce", call.reduce);
  if (cuts(call.kind)) io(joins(call.kind) ? Name("split_axis") : Name("axis"), call.cut_axis);
  if (joins(call.kind)) io(cuts(call.kind) ? Name("concat_axis") : Name("axis"), call.join_axis);
  io.optional("extent", call.extent);
}
void members(auto& io, Like<Plan::CollectiveUse> auto& m) {
  call_members(io, m.call), io("groups", m.groups), io("tensor", m.tensor), io("of", m.of);
  io("bytes_formula", m.bytes_formula), io("bytes", m.bytes);
  io("sent_bytes_formula", m.sent_bytes_formula), io("sent_bytes", m.sent_bytes);
  io("phase", m.phase), io.optional("producer", m.producer), io.optional("consumers", m.consumers);
}
void members(auto& io, Like<Plan::FlowEntry> auto& m) {
  io.optional("collective", m.collective);
  if (!m.is_collective()) {
    io("operator", m.op), io.optional("node", m.node), io("result", m.result), io("parameters", m.parameters);
    io.sharding_of_value(m.sharding, m.result);
  }
  io("after", m.after);
}
void members(auto& io, Like<Plan::Device> auto& m) {
  io("rank", m.rank), io("coordinates", m.coordinates), io("file", m.file);
  io("parameter_elements", m.parameter_elements), io("parameter_bytes", m.parameter_bytes);
  io("constant_bytes", m.constant_bytes), io("state_bytes", m.state_bytes), io("gradient_bytes", m.gradient_bytes);
  io.optional("activation_peak_bytes", m.activation_peak_bytes);
  io("flops_formula", m.flops_formula), io("flops", m.flops);
}
void members(auto& io, Like<Plan::Count> auto& m) { io("tensors", m.tensors), io("elements", m.elements); }
void members(auto& io, Like<Plan::Totals> auto& m) {
  io("parameter_elements", m.parameter_elements), io("parameter_bytes", m.parameter_bytes);
  io("constant_bytes", m.constant_bytes);
  io("trained", m.trained), io("frozen", m.frozen), io("constant", m.constant);
  io("held_elements", m.held_elements), io("held_bytes", m.held_bytes), io("replicated_bytes", m.replicated_bytes);
  io("flops_formula", m.flops_formula), io("flops", m.flops), io("collectives", m.collectives);
  io("collective_bytes_formula", m.collective_bytes_formula), io("collective_bytes", m.collective_bytes);
  io("sent_bytes_formula", m.sent_bytes_formula), io("sent_bytes", m.sent_bytes);
}
void members(auto& io, Like<Plan::Remark> auto& m) {
  io("pass", m.pass), io("text", m.text), io.optional("kind", m.kind);
  io.optional("tensor", m.tensor), io.optional("node", m.node);
}
void members(auto& io, Like<Plan> auto& m) {
  io("tool", m.tool), io("model", m.model), io("job", m.job), io("strategy", m.strategy);
  io.optional("sequence_parallel", m.sequence_parallel), io.optional("compute", m.compute);
  io("outputs_as", m.outputs_as), io.mesh(m.mesh), io("weights", m.weights), io.dims(m.dims);
  io("guards", m.guards), io.layouts(), io("inputs", m.inputs), io("outputs", m.outputs);
  io("state", m.state), io("updates", m.updates);
  if (m.is_training()) io.given("training", m.training);
  io.optional("request", m.request);
  io("parameters", m.parameters), io("constants", m.constants), io("values", m.values);
  io("collectives", m.collectives), io.flow(m.flow, m.values), io("devices", m.devices), io("totals", m.totals);
  io("remarks", m.remarks);
}

}  // namespace optp
