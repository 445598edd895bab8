// One rank's graph from the SPMD graph: part and start become numbers, data becomes what this rank holds, mesh axes
// become groups of ranks. After this no collective is removed or moved on one rank: all ranks must meet.
#include "frontend/ir/builder.h"
#include "frontend/ir/contract_loops.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/DenseMap.h"
#include "passes/passes.h"

namespace optp {
namespace {
void map_dims(Graph& graph, llvm::function_ref<Dim(Dim)> of) {
  llvm::DenseMap<const DimExpression*, Dim> known;  // a graph has few extents, each many times
  auto f = [&](Dim d) {
    auto [at, fresh] = known.try_emplace(&d.expression());
    if (fresh) at->second = of(d);
    return at->second;
  };
  auto map_value = [&](Value& v) {
    for (Dim& d : v.type.dims) d = f(d);
    for (Dim& d : v.logical_dims) d = f(d);
    if (v.sharding)  // a batch that is cut: what a rank has of it is asked of the sharding
      for (DimSharding& dim : v.sharding->dims)
        for (FactorSharding& factor : dim.factors) factor.extent = f(factor.extent);
    v.content.reset();
  };
  for (Value* v : graph.inputs) map_value(*v);
  for (Value* v : graph.data()) map_value(*v);
  for (auto& node : graph.nodes) {
    for (auto& [key, attribute] : node->attributes) {
      if (auto* d = std::get_if<Dim>(&attribute)) *d = f(*d);
      if (auto* ds = std::get_if<Dims>(&attribute))
        for (Dim& d : *ds) d = f(d);
    }
    for (auto& r : node->results) map_value(*r);
  }
}
}  // namespace

llvm::Expected<std::unique_ptr<Graph>> materialise(const Graph& spmd, int64_t rank) {
  auto graph = spmd.clone();
  map_dims(*graph, [&](Dim d) { return has_rank_terms(d) ? bind_rank(d, spmd.mesh, rank) : d; });
  for (Value* v : graph->data()) {
    if (!v->sharding || v->sharding->is_replicated()) continue;
    for (size_t d = 0; d < v->ndim(); ++d)
      v->held.push_back(intervals(v->data->dims[d], v->sharding->dims[d], spmd.mesh, rank));
  }
  Builder build(*graph);
  build.set_fold(false);
  for (auto it = graph->nodes.begin(); it != graph->nodes.end();) {
    Node& node = **it++;
    if (node.op->is_collective) {
      const auto* axes = node.find<std::vector<std::string>>("axes");
      llvm::SmallVector<int64_t, 4> group;
      for (int64_t r : spmd.mesh.group(*axes, rank)) group.push_back(r);
      node.attributes["group"] = group;
      continue;
    }
    if (node.op->name != "contract") continue;
    // Nothing to sum on this rank: zeros in place of a product that would leave its result unwritten.
    bool empty = false;
    for (const Value* v : node.operands) empty |= llvm::is_contained(v->type.dims, Dim(0));
    if (!empty || llvm::is_contained(node.out().type.dims, Dim(0))) continue;
    build.before(&node);
    build.at(node.name, node.origin);
    auto zeros = build.create("expand", {&build.scalar(node.out().type.dtype, 0)}, {{"dims", node.out().type.dims}},
                              node.out().name + ".empty");
    if (!zeros) return zeros.takeError();
    (*zeros)->sharding = node.out().sharding;
    (*zeros)->logical_dims = node.out().logical_dims;
    const std::string name = node.out().name;
    graph->replace_all_uses(node.out(), **zeros);
    graph->erase(node);
    graph->rename(**zeros, name);
  }
  // What only fed that product stays: the other ranks need this one at its collectives.
  return graph;
}

llvm::Expected<std::unique_ptr<Graph>> bind_dims(const Graph& source, const DimValues& values) {
  auto graph = source.clone();
  llvm::Error failed = llvm::Error::success();
  map_dims(*graph, [&](Dim d) -> Dim {
    if (d.constant()) return d;
    auto n = evaluate(d, values);
    if (n) return *n;
    if (failed)
      llvm::consumeError(n.takeError());
    else
      failed = n.takeError();
    return 0;
  });
  if (failed) return failed;
  for (const Guard& g : graph->guards) {
    // A symbol that was solved for is no input's own extent any more; binding the inputs has checked it.
    auto l = evaluate(g.left, values), r = evaluate(g.right, values);
    if (!l || !r) {
      llvm::consumeError(llvm::joinErrors(l.takeError(), r.takeError()));
      continue;
    }
    if (*l != *r)
      return bad_input(g.at + ": " + g.left.text() + " = " + llvm::Twine(*l) + " must equal " + g.right.text() + " = " +
                       llvm::Twine(*r));
  }
  for (auto& node : graph->nodes)
    for (auto& r : node->results)
      for (Dim d : r->type.dims)
        if (auto n = d.constant(); n && *n < 0)
          return bad_input(describe(*node) + ": extent " + llvm::Twine(*n) + " with these dims");
  return graph;
}
}  // namespace optp
