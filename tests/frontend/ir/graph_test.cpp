// What is dead in a graph, in a rank's graph, and in the graphs of all ranks together.
#include "frontend/ir/graph.h"

#include <doctest/doctest.h>

#include "frontend/ir/builder.h"

using namespace optp;

namespace {
// y = exp(x) is given; sum = all_reduce(neg(x)) is used by no one, or by the output "sum".
std::unique_ptr<Graph> graph_of(bool grouped, bool used) {
  auto graph = std::make_unique<Graph>();
  Builder build(*graph);
  Value& x = graph->add_input("x", {DType::f32, {Dim(2)}});
  Value* y = llvm::cantFail(build.create("exp", {&x}, {}, "y"));
  Value* n = llvm::cantFail(build.create("neg", {&x}, {}, "n"));
  Attributes attributes{{"reduce", std::string("sum")}, {"id", std::string("sum")}};
  if (grouped) attributes["group"] = llvm::SmallVector<int64_t, 4>{0, 1};
  Value* sum = llvm::cantFail(build.create("all_reduce", {n}, attributes, "sum"));
  llvm::cantFail(build.create("neg", {sum}, {}, "after"));
  graph->outputs.push_back({"y", y});
  if (used) graph->outputs.push_back({"sum", sum});
  return graph;
}
std::string names(const Graph& graph) {
  std::string out;
  for (const auto& node : graph.nodes) out += node->out().name + " ";
  return out;
}
}  // namespace

TEST_CASE("in a rank's graph a collective is never dead, nor is what it is made from") {
  auto whole = graph_of(/*grouped=*/false, false), rank = graph_of(/*grouped=*/true, false);
  whole->erase_dead();
  CHECK(names(*whole) == "y ");
  rank->erase_dead();
  CHECK(names(*rank) == "y n sum ");
  CHECK(!verify(*rank));
}

TEST_CASE("of all ranks together a collective goes where no rank needs it, and stays on all where one does") {
  auto a = graph_of(true, false), b = graph_of(true, false);
  erase_dead({a.get(), b.get()});
  CHECK(names(*a) == "y ");
  CHECK(names(*b) == "y ");
  a = graph_of(true, false), b = graph_of(true, true);
  erase_dead({a.get(), b.get()});
  CHECK(names(*a) == "y n sum ");
  CHECK(names(*b) == "y n sum ");
}

TEST_CASE("a clone says what its original says, in the same order, and goes its own way") {
  Graph graph;
  graph.name = "g", graph.source = "g.onnx", graph.rank = 1;
  graph.mesh.axes.push_back({"tensor", 2});
  Builder build(graph);
  Value& x = graph.add_input("x", {DType::f32, {Dim::symbol("n"), Dim(4)}});
  graph.add_input("state", {DType::f32, {Dim(2)}});
  Value& w =
      graph.add_data("w", to_tensor(Array{.dims = {4}, .is_float = true, .f = {1, 2, 3, 4}, .i = {}}, DType::f32));
  w.is_parameter = w.frozen = w.is_literal = w.is_anonymous = true;
  w.aliases = {"v", "u"}, w.transposed_aliases = {"u"};
  w.shard = Shard::whole_of({4});
  w.logical_dims = {Dim(8)};
  Value* y = llvm::cantFail(build.create("add", {&x, &w}, {}, "y"));
  y->sharding = replicated(2);
  y->cause = {CauseKind::constraint, "asked", "w"};
  y->producer->name = "/add", y->producer->origin = "Add", y->producer->phase = Phase::loss;
  y->producer->module = {"/layer", true, true};
  Value* z = llvm::cantFail(build.create("mul", {y, y}, {}, "z"));
  graph.outputs.push_back({"out", z});
  graph.guards.push_back({Dim::symbol("n"), Dim(3), {}});
  graph.states.push_back({"state", "out", 0});
  graph.updates.push_back({"state", "out", "w", UpdateKind::parse("exp_avg")});
  graph.gradients.push_back({"w", "out"});
  graph.remarks.push_back({"a-pass", "look", RemarkKind::left_whole});
  std::swap(graph.inputs[0], graph.inputs[1]);

  const std::string text = to_string(graph);
  const auto copy = graph.clone();
  CHECK(to_string(*copy) == text);
  CHECK(!find_fault(*copy));
  CHECK(copy->find("z")->producer->operands[0] == copy->find("y"));
  CHECK(copy->find("w")->data == w.data);  // its bytes are shared
  CHECK(copy->values().size() == 5);
  graph.rename(*z, "other");
  graph.find("y")->sharding.reset();
  CHECK(to_string(*copy) == text);
}
