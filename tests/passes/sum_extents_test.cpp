// The sum of a named extent's parts: in every rank's graph where a shape needs the whole, in none where none does.
#include <doctest/doctest.h>

#include "frontend/ir/builder.h"
#include "frontend/ir/collective.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/passes.h"
#include "tests/must.h"
#include "tests/passes/rank_graph.h"

using namespace optp;

namespace {
const Dim batch = Dim::symbol("batch");

// A batch over two devices, gathered or not.
std::unique_ptr<Graph> spmd(bool gathered, Dim whole = batch, Dim rest = 3) {
  auto graph = std::make_unique<Graph>();
  graph->mesh = must(parse_mesh("data=2,tensor=2"));
  Builder build(*graph);
  build.set_fold(false);
  Value& x = graph->add_input("x", {DType::f32, {Dim::part(whole, {"data"}), rest}});
  x.sharding = Sharding{{DimSharding{{{whole, {"data"}}}}, DimSharding{}}};
  x.logical_dims = {whole, rest};
  CollectiveCall call{
      .kind = Collective::all_gather, .id = "x", .axes = {"data"}, .join_axis = 0, .dims = {whole, rest}};
  Value* y = gathered ? must(build.create("all_gather", {&x}, attributes_of(call), "y"))
                      : must(build.create("relu", {&x}, {}, "y"));
  graph->outputs.push_back({"y", y});
  return graph;
}
std::string text(const Graph& graph) {
  std::string out;
  llvm::raw_string_ostream stream(out);
  print(stream, graph);
  return out;
}
std::string first_line_of_nodes(const Graph& graph) { return to_string(*graph.nodes.front()); }
}  // namespace

TEST_CASE("where the whole batch is needed each rank adds up the parts, over the ranks that have them") {
  for (int64_t rank : {1, 3}) {
    const auto graph = rank_graph(*spmd(true), rank);
    CHECK(graph->rank == rank);
    REQUIRE(graph->size() == 3);
    const Node &part = *graph->nodes.front(), &sum = **std::next(graph->nodes.begin());
    CHECK(part.dims("values")[0] == floor_div(rank == 1 ? batch + 1 : batch, 2));
    const CollectiveCall call = call_of(sum);
    CHECK(call.kind == Collective::all_reduce);
    CHECK(call.id == "dims/batch");
    CHECK(call.reduce == Reduce::sum);
    CHECK(call.group == llvm::SmallVector<int, 4>{1, 3});
    CHECK(call.extent == batch);
    CHECK(call.reason == "input 'x' has a part of batch on each device, and shapes need the whole");
    CHECK(sum.out().name == "dims/batch");
    CHECK(!verify(*graph));
  }
}

TEST_CASE("nothing is added up where no shape needs the whole, or where it is at hand") {
  CHECK(rank_graph(*spmd(false), 0)->size() == 1);
  CHECK(rank_graph(*spmd(true, 7), 0)->size() == 1);
  // The other dim has the whole batch.
  CHECK(rank_graph(*spmd(true, batch, batch), 0)->size() == 1);
}

TEST_CASE("a graph whose dims are numbers needs no sum of them") {
  const auto rank = rank_graph(*spmd(true), 1);
  const auto bound = must(bind_dims(*rank, {{"batch", 5}}));
  CHECK(text(*bound).find("dims/") == std::string::npos);
  CHECK(first_line_of_nodes(*bound).find("all_gather") != std::string::npos);
  CHECK(!verify(*bound));
}
