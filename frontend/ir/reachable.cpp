#include "frontend/ir/reachable.h"

#include <boost/graph/depth_first_search.hpp>
#include <boost/graph/reverse_graph.hpp>

#include "frontend/ir/graph_concepts.h"

namespace optp {
namespace {
template <typename G>
llvm::DenseSet<const Node*> search(const G& graph, llvm::ArrayRef<const Node*> from) {
  llvm::DenseMap<const Node*, boost::default_color_type> colours;
  const NodeMap<boost::default_color_type> map(colours);
  for (const Node* node : from)
    if (get(map, node) == boost::white_color) boost::depth_first_visit(graph, node, boost::default_dfs_visitor(), map);
  llvm::DenseSet<const Node*> out;
  for (const auto& entry : colours) out.insert(entry.first);
  return out;
}
}  // namespace

llvm::DenseSet<const Node*> reachable_from(const Graph& graph, llvm::ArrayRef<const Node*> nodes) {
  return search(graph, nodes);
}
llvm::DenseSet<const Node*> needed_by(const Graph& graph, llvm::ArrayRef<const Node*> nodes) {
  return search(boost::make_reverse_graph(graph), nodes);
}
}  // namespace optp
