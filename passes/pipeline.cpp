// The passes in order. annotate, split and materialise follow; they are called by name since they make new graphs.
#include "frontend/ir/diagnostic.h"
#include "passes/passes.h"

namespace optp {
namespace {
const Pass passes[] = {
    // Before tying: a transposed copy of a table is one only once its transpose is in the product's loops.
    {"absorb-transposes", "a transpose before a product becomes an order of its loops", absorb_transposes},
    {"merge-views", "reshapes of reshapes and of what already has the shape", merge_views},
    // Before classes of factors are formed: a bias shared by two layers would tie their shardings together.
    {"unshare-parameters", "what the exporter merged becomes one parameter a module", unshare_parameters},
    {"tie-weights",
     "a table and a head with equal contents become one parameter, and so do the copies of a module's weight",
     tie_weights},
    {"find-parameters", "which initializers are trained", find_parameters},
    {"precision", "half-precision weights are computed with in float32", precision},
    {"find-states", "outputs that extend an input: key/value caches", find_states},
};
}  // namespace

llvm::ArrayRef<Pass> canonical_passes() { return passes; }
llvm::Error canonicalise(Graph& graph, const PassOptions& options) {
  for (const Pass& pass : passes)
    if (auto e = run_pass(pass, graph, options)) return e;
  return llvm::Error::success();
}
llvm::Error run_pass(const Pass& pass, Graph& graph, const PassOptions& options) {
  if (auto e = pass.run(graph, options)) return e;
  graph.erase_dead();
#ifndef NDEBUG
  if (auto e = verify(graph)) return with_prefix(llvm::Twine("after ") + pass.name, std::move(e));
#endif
  return llvm::Error::success();
}

InputDependence::InputDependence(const Graph& graph) {
  for (const Value* v : graph.inputs) dependent_.insert(v);
  for (const auto& node : graph.nodes)
    if (llvm::any_of(node->operands, [&](const Value* v) { return dependent_.contains(v); }))
      for (const auto& r : node->results) dependent_.insert(r.get());
}
}  // namespace optp
