#include "tools/run/prepare.h"

#include "frontend/ir/diagnostic.h"
#include "tools/run/draw_weights.h"

namespace optp {

llvm::Error prepare_weights(Job& job, llvm::StringRef random_weights) {
  if (!random_weights.empty()) {
    auto seed = parse_seed(random_weights);
    if (!seed) return seed.takeError();
    std::vector<Graph*> graphs{job.imported.get(), job.whole.get(), job.spmd.get()};
    for (auto& g : job.ranks)
      if (g) graphs.push_back(g.get());
    draw_weights(graphs, *seed);
  }
  return need_weights(*job.whole);
}

llvm::Expected<HostArrays> prepare_inputs(const Graph& imported, llvm::ArrayRef<std::string> given,
                                          llvm::StringRef folder, DimValues& dims, Invented* invented) {
  Invented unused;
  if (!invented) invented = &unused;
  auto bind = [&](const Shapes& shapes, DimValues values) -> llvm::Expected<DimValues> {
    auto bound = bind_input_dims(imported, shapes, std::move(values));
    if (!bound) return bound;
    for (const auto& [name, extent] : invented->usual)
      if (bound->try_emplace(name, extent).second) invented->dims[name] = extent;
    if (!invented->dims.empty()) bound = bind_input_dims(imported, shapes, std::move(*bound));
    if (!bound) return bound;
    for (const Value* v : imported.inputs)
      for (Dim d : v->type.dims)
        for (const std::string& s : symbols_of(d))
          if (!bound->contains(s)) {
            const std::string way_out =
                "give --dim " + (s == Dim::symbol(s).text() ? s + "=NUMBER" : "\"" + s + "=NUMBER\"");
            return error(Code::dim_without_value).dim(s).says("has no value").what(way_out).about({.hint = way_out});
          }
    return bound;
  };
  return make_inputs(input_specs(imported), given, folder, dims, bind, &invented->inputs);
}

HostArrays take_shards(const HostArrays& whole, const Graph& rank_graph, const Mesh& mesh, int64_t rank) {
  HostArrays out;
  for (const Value* v : rank_graph.inputs)
    if (auto it = whole.find(v->name); it != whole.end())
      out[v->name] = take(Shard::of(it->second.dims, *v->sharding, mesh, rank), it->second);
  return out;
}

llvm::StringSet<> copied_outputs(const Graph& rank_graph, const Mesh& mesh, int64_t rank) {
  llvm::StringSet<> out;
  for (const GraphOutput& o : rank_graph.outputs) {
    const AxisUses cut = o.value->sharding->axes();
    for (const MeshAxis& axis : mesh.axes)
      if (mesh.coordinate(axis.name, rank) > 0 &&
          llvm::none_of(cut, [&](const AxisUse& use) { return use.axis == axis.name; }))
        out.insert(o.name);
  }
  return out;
}
}  // namespace optp
