#include "frontend/ir/builder.h"
#include "frontend/ir/mesh.h"
#include "frontend/ir/op.h"
#include "passes/strategy.h"
#include "tools/check/mutant_parts.h"

namespace optp {
namespace {
bool is_over_data(const Node& node) {
  return node.op->collective && llvm::is_contained(call_of(node).axes, data_axis.str());
}
// Sums of gradients over the batch's parts: whole on every member, or in parts (ZeRO).
Node* nth_gradient_sum(Graph& graph, int64_t n) {
  return nth(graph, n, [](const Node& node) {
    return node.phase == Phase::backward && is_over_data(node) && reduces(*node.op->collective);
  });
}
double members(const Node& node) { return double(call_of(node).group.size()); }

// The chunk of member `k` of the value's dim `axis`, before `at`.
llvm::Expected<Value*> chunk_of(Graph& graph, Node& at, Value& value, int64_t axis, int64_t members, int64_t k) {
  const int64_t total = value.type.dims[size_t(axis)].constant().value_or(0);
  Builder build(graph);
  build.set_fold(false);
  build.at("mutant", "mutant");
  build.phase(at.phase);
  build.before(&at);
  return build.create("slice", {&value},
                      {{"axis", axis},
                       {"start", Dim(chunk_start(total, members, k))},
                       {"size", Dim(chunk_size(total, members, k))},
                       {"step", int64_t(1)}});
}
int64_t member_of(const CollectiveCall& call, int64_t rank) {
  return llvm::find(call.group, rank) - call.group.begin();
}

// A reduce-scatter becomes an all-reduce of which each member takes a chunk; without `sums`, of its own addends.
llvm::Expected<bool> take_chunk_after(const MutantRequest& r, Node& scatter, bool sums, int64_t member) {
  CollectiveCall call = call_of(scatter);
  Value* whole = &scatter.operand(0);
  const int64_t axis = call.cut_axis, size = int64_t(call.group.size());
  if (sums) {
    call.kind = Collective::all_reduce, call.cut_axis = -1, call.local = 0;
    Node& sum = r.graph.add_node(get_op(to_string(call.kind)), {whole}, {whole->type}, {"mutant"}, &scatter);
    sum.attributes = attributes_of(call), sum.phase = scatter.phase;
    whole = &sum.out();
  }
  auto part = chunk_of(r.graph, scatter, *whole, axis, size, member);
  if (!part) return part.takeError();
  Value& out = scatter.out();
  (*part)->sharding = out.sharding, (*part)->logical_dims = out.logical_dims, (*part)->cause = out.cause;
  r.graph.replace_all_uses(out, **part);
  r.graph.erase(scatter);
  return true;
}
}  // namespace

llvm::Expected<bool> gradient_not_summed(const MutantRequest& r) {
  Node* sum = nth_gradient_sum(r.graph, r.n);
  if (!sum || sum->op->collective == Collective::all_reduce) return leave_out(r.graph, sum);
  return take_chunk_after(r, *sum, /*sums=*/false, member_of(call_of(*sum), r.rank));
}
llvm::Expected<bool> gradient_summed_twice(const MutantRequest& r) {
  Node* sum = nth_gradient_sum(r.graph, r.n);
  if (sum) scale(r.graph, *sum, members(*sum));
  return sum != nullptr;
}
llvm::Expected<bool> gradient_mean_for_sum(const MutantRequest& r) {
  Node* sum = nth_gradient_sum(r.graph, r.n);
  if (sum) scale(r.graph, *sum, 1 / members(*sum));
  return sum != nullptr;
}

// The N-th sum along one axis of the mesh adds up what the other axis' ranks have.
llvm::Expected<bool> wrong_group(const MutantRequest& r) {
  std::string other;
  Node* sum = nth(r.graph, r.n, [&](const Node& node) {
    if (node.op->collective != Collective::all_reduce || node.phase == Phase::loss) return false;
    const CollectiveCall call = call_of(node);
    if (call.axes.size() != 1 || call.extent) return false;
    for (const auto& axis : r.graph.mesh.axes)
      if (axis.size > 1 && axis.name != call.axes[0]) other = axis.name;
    return !other.empty();
  });
  if (!sum) return false;
  CollectiveCall call = call_of(*sum);
  call.axes = {other};
  const auto members = r.graph.mesh.group(call.axes, r.rank);
  call.group.assign(members.begin(), members.end());
  sum->attributes = attributes_of(call);
  return true;
}

// Where data ranks share the work of an update (ZeRO), each takes the gradient of the part after its own, if that is
// as large.
llvm::Expected<bool> gradient_of_another_shard(const MutantRequest& r) {
  const auto& mesh = r.graph.mesh;
  CollectiveCall over;
  const auto members = mesh.group({data_axis.str()}, r.rank);
  over.group.assign(members.begin(), members.end());
  const int64_t size = int64_t(over.group.size()), next = (member_of(over, r.rank) + 1) % size;
  for (const GradientOutput& g : r.graph.gradients) {
    const auto out = llvm::find_if(r.graph.outputs, [&](const GraphOutput& o) { return o.name == g.output; });
    Node* made = out->value->producer;
    if (made && made->op->collective == Collective::reduce_scatter && is_over_data(*made) &&
        made->operand(0).type.dims[size_t(call_of(*made).cut_axis)].constant().value_or(1) % size == 0)
      return take_chunk_after(r, *made, /*sums=*/true, next);
    for (const Use& use : out->value->uses) {
      Node& cut = *use.node;
      if (!cut.op->is(Trait::cuts)) continue;
      const int64_t total = out->value->type.dims[size_t(cut.integer("axis"))].constant().value_or(1);
      if (total % size != 0) continue;
      cut.attributes["start"] = Dim(chunk_start(total, size, next));
      return true;
    }
  }
  return false;
}

// What is gathered is what the members had before the step.
llvm::Expected<bool> stale_parameter(const MutantRequest& r) {
  for (const Update& u : r.graph.updates) {
    const auto next = llvm::find_if(r.graph.outputs, [&](const GraphOutput& o) { return o.name == u.output; });
    Value* before = r.graph.find(u.input);
    if (u.kind.of != UpdateKind::parameter || !before || !next->value->producer ||
        !is_over_data(*next->value->producer))
      continue;
    next->value = before;
    return true;
  }
  return false;
}
}  // namespace optp
