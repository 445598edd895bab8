#include "tools/run/dead_nodes.h"

#include "frontend/ir/reachable.h"

namespace optp {
namespace {
llvm::SmallVector<const Node*> roots_of(const Graph& graph, const llvm::StringSet<>& needed) {
  llvm::SmallVector<const Node*> roots;
  for (const GraphOutput& output : graph.outputs)
    if (output.value->producer) roots.push_back(output.value->producer);
  for (const auto& node : graph.nodes)
    if (needed.contains(key_among_ranks(*node))) roots.push_back(node.get());
  return roots;
}
}  // namespace

llvm::Error erase_dead(World& world, PerRank<std::unique_ptr<Graph>>& graphs) {
  std::vector<Graph*> held;
  for (const size_t r : graphs.ranks()) held.push_back(graphs[r].get());
  llvm::StringSet<> needed;
  for (size_t shared = 0; !world.is_whole(); shared = needed.size()) {
    for (const Graph* graph : held)
      for (const Node* node : needed_by(*graph, roots_of(*graph, needed))) needed.insert(key_among_ranks(*node));
    if (auto e = world.unite(needed)) return e;
    if (needed.size() == shared) break;  // as it was when it was last the same everywhere
  }
  // An output is not dead.
  std::vector<size_t> outputs;
  for (Graph* graph : held) {
    outputs.push_back(graph->outputs.size());
    for (const auto& node : graph->nodes)
      if (needed.contains(key_among_ranks(*node))) graph->outputs.push_back({"", &node->out()});
  }
  optp::erase_dead(held);
  for (size_t k = 0; k < held.size(); ++k) held[k]->outputs.resize(outputs[k]);
  return llvm::Error::success();
}
}  // namespace optp
