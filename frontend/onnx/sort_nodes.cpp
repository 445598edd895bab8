// The order in which a body's nodes can run: the file's where it is one, else sorted. A cycle is named.
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/breadth_first_search.hpp>
#include <boost/graph/strong_components.hpp>
#include <boost/graph/topological_sort.hpp>

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/model.h"

namespace optp {
void visit_captured(const onnx::GraphProto& g, llvm::function_ref<void(const std::string&)> visit) {
  llvm::StringSet<> own;
  for (const auto& t : g.initializer()) own.insert(t.name());
  for (const auto& v : g.input()) own.insert(v.name());
  for (const auto& n : g.node())
    for (const auto& o : n.output()) own.insert(o);
  auto used = [&](const std::string& name) {
    if (!own.contains(name)) visit(name);
  };
  for (const auto& n : g.node()) {
    for (const auto& i : n.input()) used(i);
    for (const onnx::GraphProto* sub : subgraphs_of(n)) visit_captured(*sub, used);
  }
  for (const auto& o : g.output()) used(o.name());
}

namespace {
// A vertex for each node, by its position in the file; an edge from each node to those whose results it takes.
using Dependencies = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS>;
using Vertex = boost::graph_traits<Dependencies>::vertex_descriptor;
using Edge = boost::graph_traits<Dependencies>::edge_descriptor;

Dependencies dependencies_of(const NodeList& nodes) {
  llvm::StringMap<Vertex> producer;
  for (int k = 0; k < nodes.size(); ++k)
    for (const auto& o : nodes[k].output())
      if (!o.empty()) producer[o] = Vertex(k);
  Dependencies graph{size_t(nodes.size())};
  for (int k = 0; k < nodes.size(); ++k) {
    auto depends_on = [&](const std::string& name) {
      if (auto it = producer.find(name); it != producer.end()) boost::add_edge(Vertex(k), it->second, graph);
    };
    for (const auto& i : nodes[k].input()) depends_on(i);
    for (const onnx::GraphProto* sub : subgraphs_of(nodes[k])) visit_captured(*sub, depends_on);
  }
  return graph;
}

// The first way back to where a search began, breadth first: the shortest.
struct WayBack {
  Vertex last;
};
class WayBackFinder : public boost::default_bfs_visitor {
 public:
  WayBackFinder(Vertex start, std::vector<Vertex>& predecessors, int64_t& budget)
      : start_(start), predecessors_(predecessors), budget_(budget) {}
  void examine_edge(Edge e, const Dependencies& g) const {
    --budget_;
    if (boost::target(e, g) == start_) throw WayBack{boost::source(e, g)};
  }
  void tree_edge(Edge e, const Dependencies& g) const { predecessors_[boost::target(e, g)] = boost::source(e, g); }

 private:
  Vertex start_;
  std::vector<Vertex>& predecessors_;
  int64_t& budget_;
};
// Gives the vertices of the shortest cycle through `start`, each depending on the next; empty where there is none.
std::vector<Vertex> shortest_cycle_through(Vertex start, const Dependencies& graph, int64_t& budget) {
  std::vector<Vertex> predecessors(boost::num_vertices(graph)), cycle;
  try {
    boost::breadth_first_search(graph, start, boost::visitor(WayBackFinder(start, predecessors, budget)));
  } catch (const WayBack& back) {
    for (Vertex v = back.last; v != start; v = predecessors[v]) cycle.push_back(v);
    cycle.push_back(start);
    std::reverse(cycle.begin(), cycle.end());
  }
  return cycle;
}

llvm::Error cycle_error(const NodeList& nodes, const Dependencies& graph) {
  const size_t count = boost::num_vertices(graph);
  std::vector<int> component(count);
  const int components = boost::strong_components(
      graph, boost::make_iterator_property_map(component.begin(), boost::get(boost::vertex_index, graph)));
  std::vector<size_t> size(size_t(components), 0);
  for (int c : component) ++size[size_t(c)];
  // Through each node of the cyclic parts the shortest; of many nodes not all are tried.
  int64_t budget = 10'000'000;  // edges
  std::vector<Vertex> best;
  for (Vertex v = 0; v < count && budget > 0 && best.size() != 1; ++v) {
    if (size[size_t(component[v])] == 1 && !boost::edge(v, v, graph).second) continue;
    std::vector<Vertex> cycle = shortest_cycle_through(v, graph, budget);
    if (!cycle.empty() && (best.empty() || cycle.size() < best.size())) best = std::move(cycle);
    budget -= int64_t(count);  // for the search's own tables
  }
  constexpr size_t most_named = 100;
  std::string names;
  for (size_t k = 0; k < best.size() && k < most_named; ++k) names += (k ? " <- " : "") + describe(nodes[int(best[k])]);
  if (best.size() > most_named) names += " <- and " + std::to_string(best.size() - most_named) + " more";
  const onnx::NodeProto& first = nodes[int(best[0])];
  return error(Code::cycle)
      .what("the graph has a cycle of " + llvm::Twine(best.size()) + " nodes")
      .what(names)
      .about({.node = place_of(first).name, .op = first.op_type()});
}
}  // namespace

llvm::Error sort_nodes(Body& body) {
  const NodeList& nodes = *body.nodes;
  const Dependencies graph = dependencies_of(nodes);
  const auto [first, last] = boost::edges(graph);
  body.was_sorted = std::all_of(first, last, [&](Edge e) { return boost::target(e, graph) < boost::source(e, graph); });
  body.order.clear();
  if (body.was_sorted) {
    for (int k = 0; k < nodes.size(); ++k) body.order.push_back(k);
    return llvm::Error::success();
  }
  std::vector<Vertex> order;
  try {  // each node in the file's order, after what it needs
    boost::topological_sort(graph, std::back_inserter(order));
  } catch (const boost::not_a_dag&) {
    return cycle_error(nodes, graph);
  }
  body.order.assign(order.begin(), order.end());
  return llvm::Error::success();
}
}  // namespace optp
