// One rank's graph from the SPMD graph: part and start become numbers, data becomes what this rank holds, mesh axes
// become groups of ranks. After this no collective is removed or moved on one rank: all ranks must meet.
#include "frontend/ir/builder.h"
#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"
#include "passes/map_dims.h"
#include "passes/passes.h"

namespace optp {
llvm::Expected<std::unique_ptr<Graph>> materialise(const Graph& spmd, int64_t rank) {
  auto graph = spmd.clone();
  graph->rank = rank;
  map_dims(*graph, [&](Dim d) { return has_rank_terms(d) ? bind_rank(d, spmd.mesh, rank) : d; });
  for (Value* v : graph->data()) {
    if (!v->sharding || v->sharding->is_replicated()) continue;
    v->shard = Shard::of(v->data->dims, *v->sharding, spmd.mesh, rank);
  }
  Builder build(*graph);
  build.set_fold(false);
  for (auto it = graph->nodes.begin(); it != graph->nodes.end();) {
    Node& node = **it++;
    if (node.op->collective) {
      CollectiveCall call = call_of(node);
      const auto members = spmd.mesh.group(call.axes, rank);
      call.group.assign(members.begin(), members.end());
      node.attributes = attributes_of(call);
      continue;
    }
    if (!node.op->is(Trait::empty_is_zero)) continue;
    // Nothing to sum on this rank: zeros in place of a product that would leave its result unwritten.
    bool empty = false;
    for (const Value* v : node.operands) empty |= llvm::is_contained(v->type.dims, Dim(0));
    if (!empty || llvm::is_contained(node.out().type.dims, Dim(0))) continue;
    build.before(&node);
    build.at(node.name, node.origin);
    build.phase(node.phase);
    auto zeros = build.create("expand", {&build.scalar(node.out().type.dtype, 0)}, {{"dims", node.out().type.dims}},
                              node.out().name + ".empty");
    if (!zeros) return zeros.takeError();
    (*zeros)->sharding = node.out().sharding;
    (*zeros)->logical_dims = node.out().logical_dims;
    (*zeros)->cause = node.out().cause;
    const std::string name = node.out().name;
    graph->replace_all_uses(node.out(), **zeros);
    graph->erase(node);
    graph->rename(**zeros, name);
  }
  // What only fed that product stays: the other ranks wait for this one at its collectives.
  return graph;
}
}  // namespace optp
