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
