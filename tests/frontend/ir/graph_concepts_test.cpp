// The graph as Boost.Graph sees it: its algorithms find what the uses say.
#include "frontend/ir/graph_concepts.h"

#include <doctest/doctest.h>

#include <boost/graph/topological_sort.hpp>

#include "frontend/ir/builder.h"
#include "frontend/ir/reachable.h"

using namespace optp;

namespace {
struct Diamond {
  Graph graph;
  Builder build{graph};
  Value *x, *w, *left, *right, *joined, *apart;
  Diamond() {
    build.set_fold(false);
    x = &graph.add_input("x", {DType::f32, {4}});
    w = &graph.add_input("w", {DType::f32, {4}});
    left = op("neg", {x}), right = op("exp", {x});
    joined = op("add", {left, left});
    joined = op("mul", {joined, right});
    apart = op("neg", {w});
  }
  Value* op(const char* name, llvm::ArrayRef<Value*> in) { return llvm::cantFail(build.create(name, in)); }
};
}  // namespace

TEST_CASE("vertices are nodes, edges are uses, also several of one value by one node") {
  const Diamond d;
  const Graph& g = d.graph;
  CHECK(num_vertices(g) == 5);
  CHECK(out_degree(d.left->producer, g) == 2);
  CHECK(in_degree(d.left->producer, g) == 0);  // an input is no vertex
  CHECK(in_degree(d.joined->producer, g) == 2);
  const auto [first, last] = out_edges(d.right->producer, g);
  REQUIRE(std::distance(first, last) == 1);
  CHECK((*first).to == d.joined->producer);
  CHECK((*first).operand == 1);
}

TEST_CASE("topological_sort of a graph gives an order in which each node follows what it needs") {
  const Diamond d;
  std::vector<const Node*> order;
  llvm::DenseMap<const Node*, boost::default_color_type> colours;
  boost::topological_sort(d.graph, std::back_inserter(order),
                          boost::color_map(NodeMap<boost::default_color_type>(colours)));
  std::reverse(order.begin(), order.end());
  REQUIRE(order.size() == 5);
  auto at = [&](const Value* v) { return llvm::find(order, v->producer) - order.begin(); };
  CHECK(at(d.left) < at(d.joined));
  CHECK(at(d.right) < at(d.joined));
}

TEST_CASE("what is reached along uses and against them") {
  const Diamond d;
  CHECK(reachable_from(d.graph, {d.left->producer}).size() == 3);
  CHECK(needed_by(d.graph, {d.joined->producer}).size() == 4);
  CHECK(!needed_by(d.graph, {d.joined->producer}).contains(d.apart->producer));
  CHECK(reachable_from(d.graph, {}).empty());
}
