// Boost.Graph's view of a Graph: nodes are vertices, a use of a node's result is an edge to the node that uses it. The
// graph models VertexListGraph and BidirectionalGraph, so that Boost's algorithms run on it with no copy; inputs and
// data are no vertices.
#pragma once
#include <boost/graph/graph_concepts.hpp>
#include <boost/graph/graph_traits.hpp>
#include <boost/iterator/iterator_facade.hpp>
#include <boost/property_map/property_map.hpp>

#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseMap.h"

namespace optp {

struct GraphEdge {
  const Node* from;
  const Node* to;
  unsigned operand;  // of `to`
  bool operator==(const GraphEdge&) const = default;
};

class NodeIterator
    : public boost::iterator_facade<NodeIterator, const Node* const, boost::bidirectional_traversal_tag, const Node*> {
 public:
  NodeIterator() = default;
  explicit NodeIterator(std::list<std::unique_ptr<Node>>::const_iterator at) : at_(at) {}

 private:
  friend class boost::iterator_core_access;
  const Node* dereference() const { return at_->get(); }
  bool equal(const NodeIterator& other) const { return at_ == other.at_; }
  void increment() { ++at_; }
  void decrement() { --at_; }
  std::list<std::unique_ptr<Node>>::const_iterator at_;
};

// Uses of all results of a node, one result after the other.
class OutEdgeIterator
    : public boost::iterator_facade<OutEdgeIterator, const GraphEdge, boost::forward_traversal_tag, GraphEdge> {
 public:
  OutEdgeIterator() = default;
  OutEdgeIterator(const Node* node, size_t result) : node_(node), result_(result) { skip(); }

 private:
  friend class boost::iterator_core_access;
  GraphEdge dereference() const {
    const Use& use = node_->results[result_]->uses[use_];
    return {node_, use.node, use.operand};
  }
  bool equal(const OutEdgeIterator& other) const { return result_ == other.result_ && use_ == other.use_; }
  void increment() {
    ++use_;
    skip();
  }
  void skip() {
    while (result_ < node_->results.size() && use_ == node_->results[result_]->uses.size()) ++result_, use_ = 0;
  }
  const Node* node_ = nullptr;
  size_t result_ = 0, use_ = 0;
};

// Operands that nodes make.
class InEdgeIterator
    : public boost::iterator_facade<InEdgeIterator, const GraphEdge, boost::forward_traversal_tag, GraphEdge> {
 public:
  InEdgeIterator() = default;
  InEdgeIterator(const Node* node, size_t operand) : node_(node), operand_(operand) { skip(); }

 private:
  friend class boost::iterator_core_access;
  GraphEdge dereference() const { return {node_->operands[operand_]->producer, node_, unsigned(operand_)}; }
  bool equal(const InEdgeIterator& other) const { return operand_ == other.operand_; }
  void increment() {
    ++operand_;
    skip();
  }
  void skip() {
    while (operand_ < node_->operands.size() && !node_->operands[operand_]->producer) ++operand_;
  }
  const Node* node_ = nullptr;
  size_t operand_ = 0;
};

// Colours and other marks of nodes, as Boost's algorithms read and write them; what is not there has the default.
template <typename T>
class NodeMap {
 public:
  using key_type = const Node*;
  using value_type = T;
  using reference = T;
  using category = boost::read_write_property_map_tag;
  explicit NodeMap(llvm::DenseMap<const Node*, T>& map) : map_(&map) {}
  friend T get(const NodeMap& m, const Node* node) { return m.map_->lookup(node); }
  friend void put(const NodeMap& m, const Node* node, T value) { (*m.map_)[node] = value; }

 private:
  llvm::DenseMap<const Node*, T>* map_;
};
}  // namespace optp

template <>
struct boost::graph_traits<optp::Graph> {
  using vertex_descriptor = const optp::Node*;
  using edge_descriptor = optp::GraphEdge;
  using directed_category = boost::bidirectional_tag;
  using edge_parallel_category = boost::allow_parallel_edge_tag;
  struct traversal_category : boost::vertex_list_graph_tag, boost::bidirectional_graph_tag {};
  using vertex_iterator = optp::NodeIterator;
  using out_edge_iterator = optp::OutEdgeIterator;
  using in_edge_iterator = optp::InEdgeIterator;
  using vertices_size_type = size_t;
  using edges_size_type = size_t;
  using degree_size_type = size_t;
  static vertex_descriptor null_vertex() { return nullptr; }
};

namespace optp {
// Found by argument-dependent lookup.
inline std::pair<NodeIterator, NodeIterator> vertices(const Graph& g) {
  return {NodeIterator(g.nodes.begin()), NodeIterator(g.nodes.end())};
}
inline size_t num_vertices(const Graph& g) { return g.nodes.size(); }
inline std::pair<OutEdgeIterator, OutEdgeIterator> out_edges(const Node* n, const Graph&) {
  return {OutEdgeIterator(n, 0), OutEdgeIterator(n, n->results.size())};
}
inline std::pair<InEdgeIterator, InEdgeIterator> in_edges(const Node* n, const Graph&) {
  return {InEdgeIterator(n, 0), InEdgeIterator(n, n->operands.size())};
}
inline size_t out_degree(const Node* n, const Graph& g) {
  const auto [first, last] = out_edges(n, g);
  return size_t(std::distance(first, last));
}
inline size_t in_degree(const Node* n, const Graph& g) {
  const auto [first, last] = in_edges(n, g);
  return size_t(std::distance(first, last));
}
inline size_t degree(const Node* n, const Graph& g) { return in_degree(n, g) + out_degree(n, g); }
inline const Node* source(const GraphEdge& e, const Graph&) { return e.from; }
inline const Node* target(const GraphEdge& e, const Graph&) { return e.to; }

BOOST_CONCEPT_ASSERT((boost::VertexListGraphConcept<Graph>));
BOOST_CONCEPT_ASSERT((boost::BidirectionalGraphConcept<Graph>));
}  // namespace optp
