// A rank that gets a part of a named extent (of the batch, say) may need its total: the ranks then all-reduce their
// parts. All of them do, whether or not their own nodes need the sum: a collective needs every member.
//   before   (%x: f32[floor(batch + 1, 2), 3] [data, _])   … %y: f32[batch, 3] …
//   after    %dims/batch = all_reduce(dim_tensor(floor(batch + 1, 2))) {extent = batch, id = "dims/batch"}
// What needs the extent names it; when a graph's dims are bound to numbers, the sum goes.
#include "frontend/ir/builder.h"
#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_sources.h"
#include "passes/passes.h"

namespace optp {
namespace {
DimSources known_from_inputs(const Graph& graph) {
  Dims extents;
  for (const Value* v : graph.inputs) extents.append(v->type.dims.begin(), v->type.dims.end());
  DimSources known;
  known.add(extents);
  return known;
}
llvm::Error sum_extent(Builder& build, const Value& input, size_t axis) {
  const Graph& graph = build.graph();
  const Dim whole = input.logical_dims[axis];
  CollectiveCall call{.kind = Collective::all_reduce,
                      .id = "dims/" + whole.text(),
                      .reduce = Reduce::sum,
                      .reason = "input '" + input.name + "' has a part of " + whole.text() +
                                " on each device, and shapes need the whole",
                      .extent = whole};
  for (const AxisUse& use : input.sharding->dims[axis].axes()) call.axes.push_back(use.axis);
  const auto members = graph.mesh.group(call.axes, *graph.rank);
  call.group.assign(members.begin(), members.end());
  Value& part = build.dim_tensor({1}, {input.type.dims[axis]}, DType::i64, call.id + "/part");
  auto sum = build.create(to_string(call.kind), {&part}, attributes_of(call), call.id);
  if (!sum) return sum.takeError();
  (*sum)->cause = {CauseKind::propagated, call.reason, input.name};
  return llvm::Error::success();
}
}  // namespace

llvm::Error sum_extents(Graph& rank_graph) {
  if (!rank_graph.rank) return error(Code::bad_value).what("sum-extents").expected("a rank's graph").found("none's");
  DimSources known = known_from_inputs(rank_graph);
  auto unknown = [&](const auto& node) {
    return llvm::any_of(node->out().type.dims, [&](Dim d) { return !known.is_known(d); });
  };
  if (llvm::none_of(rank_graph.nodes, unknown)) return llvm::Error::success();
  Builder build(rank_graph);
  build.set_fold(false);
  build.before(rank_graph.nodes.front().get());
  for (const Value* v : rank_graph.inputs)
    for (size_t axis = 0; v->sharding && axis < v->logical_dims.size(); ++axis) {
      const Dim whole = v->logical_dims[axis];
      if (!v->sharding->dims[axis].is_split() || known.is_known(whole)) continue;
      if (auto e = sum_extent(build, *v, axis)) return e;
      known.add({whole});
    }
  return llvm::Error::success();
}
}  // namespace optp
