// Ranks as threads: collectives join them, and one that fails ends the others with its message.
#include "runtime/run_ranks.h"

#include <doctest/doctest.h>

#include <thread>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"
#include "tests/runtime/comm/split_world.h"

namespace optp {
namespace {
// y = all_reduce(table[index]): an index of 9 fails on the rank that has it.
std::unique_ptr<Graph> graph_of(int64_t ranks) {
  auto graph = std::make_unique<Graph>();
  Builder build(*graph);
  build.set_fold(false);
  llvm::SmallVector<int64_t, 4> group;
  for (int64_t r = 0; r < ranks; ++r) group.push_back(r);
  Value& table = graph->add_input("table", {DType::f32, {Dim(3), Dim(2)}});
  Value& index = graph->add_input("index", {DType::i64, {Dim(1)}});
  Value* row = llvm::cantFail(build.create("gather", {&table, &index}, {{"axis", int64_t(0)}}, "row"));
  Value* sum = llvm::cantFail(build.create(
      "all_reduce", {row}, {{"group", group}, {"reduce", std::string("sum")}, {"id", std::string("sum.0")}}, "sum"));
  Value* all = llvm::cantFail(build.create(
      "all_gather", {sum},
      {{"group", group}, {"axis", int64_t(0)}, {"total", Dim(ranks)}, {"id", std::string("all.0")}}, "all"));
  graph->outputs.push_back({"all", all});
  graph->outputs.push_back({"sum", sum});
  return graph;
}
}  // namespace

TEST_CASE("ranks sum and gather, run after run; a failing rank is named") {
  const auto graph = graph_of(3);
  ThreadWorld world(3);
  auto ranks = RankThreads::create(world, PerRank<const Graph*>::of_all({graph.get(), graph.get(), graph.get()}));
  REQUIRE(bool(ranks));
  Array table;
  table.resize(true, {3, 2});
  table.f = {1, 2, 3, 4, 5, 6};
  auto index = [](int64_t row) {
    Array a;
    a.resize(false, {1});
    a.i = {row};
    return host_array(a, DType::i64);
  };
  PerRank<HostArrays> arrays(world.held()), outputs;
  PerRank<HostInputs> inputs(world.held());
  for (size_t r = 0; r < 3; ++r) {
    arrays[r] = {{"table", host_array(table, DType::f32)}, {"index", index(int64_t(r))}};
    inputs[r] = inputs_of(arrays[r]);
  }
  for (int again = 0; again < 3; ++again) {
    REQUIRE(llvm::toString((*ranks)->run(inputs, outputs)) == "");
    for (size_t r = 0; r < 3; ++r) {
      const Array all = to_array(outputs[r].find("all")->second);
      CHECK(all.f == std::vector<double>{9, 12, 9, 12, 9, 12});
    }
  }
  // An output that a rank's caller does not read is not given there.
  PerRank<llvm::StringSet<>> unread(world.held());
  unread[1].insert("all");
  unread[2].insert("sum");
  auto some = RankThreads::create(world, PerRank<const Graph*>::of_all({graph.get(), graph.get(), graph.get()}),
                                  {.unread = &unread});
  REQUIRE(bool(some));
  PerRank<HostArrays> wanted;
  REQUIRE(llvm::toString((*some)->run(inputs, wanted)) == "");
  for (size_t r = 0; r < 3; ++r) {
    CHECK(wanted[r].size() == outputs[r].size() - unread[r].size());
    for (const auto& [name, array] : wanted[r]) {
      CHECK(!unread[r].contains(name));
      CHECK(array.bytes == outputs[r][name].bytes);
    }
  }
  arrays[1]["index"] = index(9);
  using Told = std::pair<std::string, std::string>;
  const auto told = [](const Diagnostic& d) { return Told(row_of(d.code()).name, d.message()); };
  const Diagnostic e = take_diagnostic((*ranks)->run(inputs, outputs));
  CHECK(
      llvm::formatv("{0}", llvm::json::Value(error_object(e, int(e.fault())))).str() ==
      R"({"code":"bad-input/out-of-range","exit":65,"expected":"from -3 to 2","found":"9","message":"rank 1: node of 'row' (gather): index 9 of operand 1 'index' is outside 3 rows of 'table'","node":"row","op":"gather","severity":"error","tensor":"index"})");
  CHECK(told(take_diagnostic((*ranks)->run(inputs, outputs))) == Told("rank-failed/rank", "a rank failed before"));
  const PerRank<HostInputs> fewer(llvm::ArrayRef<size_t>{0, 1});
  CHECK(told(take_diagnostic((*ranks)->run(fewer, outputs))) == Told("internal/bug", "inputs of 2 ranks for 3"));
}

TEST_CASE("processes that hold some of the ranks each: the same sums, and the same error on all of them") {
  const auto graph = graph_of(4);
  Array table;
  table.resize(true, {3, 2});
  table.f = {1, 2, 3, 4, 5, 6};
  testing::SplitRun split({{0}, {1, 2}, {3}});
  std::vector<std::string> sums(3), told(3);
  auto process = [&](size_t p) {
    const auto world = llvm::cantFail(split.maker(p)(4));
    PerRank<const Graph*> graphs(world->held());
    for (const size_t r : world->held()) graphs[r] = graph.get();
    auto run = [&](RankThreads& ranks, int64_t row_of_rank_2) -> llvm::Error {
      PerRank<HostArrays> arrays(world->held()), outputs;
      PerRank<HostInputs> inputs(world->held());
      for (const size_t r : world->held()) {
        Array index;
        index.resize(false, {1});
        index.i = {r == 2 ? row_of_rank_2 : 1};
        arrays[r] = {{"table", host_array(table, DType::f32)}, {"index", host_array(index, DType::i64)}};
        inputs[r] = inputs_of(arrays[r]);
      }
      if (auto e = ranks.run(inputs, outputs)) return e;
      for (const size_t r : world->held())
        for (const double x : to_array(outputs[r].find("all")->second).f) sums[p] += std::to_string(int(x)) + " ";
      return llvm::Error::success();
    };
    auto fault = world->run([&]() -> llvm::Error {
      auto ranks = RankThreads::create(*world, graphs);
      if (!ranks) return ranks.takeError();
      if (auto e = run(**ranks, 2)) return e;
      return run(**ranks, 9);
    });
    const Diagnostic d = take_diagnostic(std::move(fault));
    told[p] = llvm::formatv("{0}", llvm::json::Value(error_object(d, int(d.fault())))).str();
  };
  {
    std::vector<std::jthread> processes;
    for (size_t p = 0; p < 3; ++p) processes.emplace_back(process, p);
  }
  const std::string sum = "14 18 14 18 14 18 14 18 ";
  CHECK(sums == std::vector<std::string>{sum, sum + sum, sum});
  CHECK(
      told ==
      std::vector<std::string>(
          3,
          R"({"code":"bad-input/out-of-range","exit":65,"expected":"from -3 to 2","found":"9","message":"rank 2: node of 'row' (gather): index 9 of operand 1 'index' is outside 3 rows of 'table'","node":"row","op":"gather","severity":"error","tensor":"index"})"));
}

// out = all_reduce(x) + table[index], and the row is chosen while x travels.
std::unique_ptr<Graph> graph_with_a_wait() {
  auto graph = std::make_unique<Graph>();
  Builder build(*graph);
  build.set_fold(false);
  Value& x = graph->add_input("x", {DType::f32, {Dim(1), Dim(2)}});
  Value& table = graph->add_input("table", {DType::f32, {Dim(3), Dim(2)}});
  Value& index = graph->add_input("index", {DType::i64, {Dim(1)}});
  Value* sum = llvm::cantFail(build.create(
      "all_reduce", {&x},
      {{"group", llvm::SmallVector<int64_t, 4>{0, 1}}, {"reduce", std::string("sum")}, {"id", std::string("sum.0")}},
      "sum"));
  Value* row = llvm::cantFail(build.create("gather", {&table, &index}, {{"axis", int64_t(0)}}, "row"));
  graph->outputs.push_back({"y", llvm::cantFail(build.create("add", {sum, row}, {}, "y"))});
  graph->outputs.push_back({"sum", sum});
  return graph;
}

TEST_CASE("a collective that travels while its rank computes gives the same; a rank that fails meanwhile is named") {
  const auto graph = graph_with_a_wait();
  const auto array = [](bool is_float, Extents dims, std::vector<double> f, std::vector<int64_t> i) {
    Array a;
    a.resize(is_float, dims);
    a.f.assign(f.begin(), f.end()), a.i.assign(i.begin(), i.end());
    return host_array(a, is_float ? DType::f32 : DType::i64);
  };
  for (const bool fails : {false, true}) {
    ThreadWorld world(2);
    RankThreadsOptions options;
    options.executable.overlap_bytes = 0;
    auto ranks = RankThreads::create(world, PerRank<const Graph*>::of_all({graph.get(), graph.get()}), options);
    REQUIRE(bool(ranks));
    PerRank<HostArrays> arrays(world.held()), outputs;
    PerRank<HostInputs> inputs(world.held());
    for (size_t r = 0; r < 2; ++r) {
      arrays[r] = {{"x", array(true, {1, 2}, {double(r) + 1, 10}, {})},
                   {"table", array(true, {3, 2}, {1, 2, 3, 4, 5, 6}, {})},
                   {"index", array(false, {1}, {}, {fails && r == 1 ? 9 : int64_t(r)})}};
      inputs[r] = inputs_of(arrays[r]);
    }
    for (int again = 0; again < 3 && !fails; ++again) {
      REQUIRE(llvm::toString((*ranks)->run(inputs, outputs)) == "");
      for (size_t r = 0; r < 2; ++r) {
        CHECK(to_array(outputs[r].find("sum")->second).f == std::vector<double>{3, 20});
        CHECK(to_array(outputs[r].find("y")->second).f ==
              std::vector<double>{4 + 2.0 * double(r), 22 + 2.0 * double(r)});
      }
    }
    if (fails)
      CHECK(take_diagnostic((*ranks)->run(inputs, outputs)).message() ==
            "rank 1: node of 'row' (gather): index 9 of operand 1 'index' is outside 3 rows of 'table'");
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they end the program themselves
TEST_CASE("memory that runs out on a rank is the run's error, not the program's end") {
  Graph graph;
  Builder build(graph);
  build.set_fold(false);
  // More elements than there are addresses.
  Value* many = llvm::cantFail(build.create(
      "iota", {},
      {{"start", Dim(0)}, {"step", Dim(1)}, {"size", Dim(int64_t(1) << 45)}, {"dtype", int64_t(DType::f32)}}, "many"));
  graph.outputs.push_back({"y", llvm::cantFail(build.create("exp", {many}, {}, "y"))});
  llvm::Error failed = llvm::Error::success();
  ThreadWorld world(2);
  if (auto ranks = RankThreads::create(world, PerRank<const Graph*>::of_all({&graph, &graph}))) {
    PerRank<HostArrays> outputs;
    failed = llvm::joinErrors(std::move(failed), (*ranks)->run(PerRank<HostInputs>(world.held()), outputs));
  } else {
    failed = llvm::joinErrors(std::move(failed), ranks.takeError());
  }
  const Diagnostic e = take_diagnostic(std::move(failed));
  CHECK(row_of(e.code()).name == std::string("internal/out-of-memory"));
  CHECK(e.message() == "rank 0: out of memory");
}
#endif
}  // namespace optp
