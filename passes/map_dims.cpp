#include "passes/map_dims.h"

#include "llvm/ADT/DenseMap.h"

namespace optp {
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
    if (v.sharding)  // for a split batch the local size comes from the sharding
      for (DimSharding& dim : v.sharding->dims)
        for (ProductSharding& part : dim.parts)
          for (FactorSharding& factor : part.factors) factor.extent = f(factor.extent);
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
}  // namespace optp
