// Every stage of every export reads as it prints, and what is read is compiled to the same rank graphs.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "frontend/ir/parse.h"
#include "frontend/onnx/import.h"
#include "passes/pipeline.h"
#include "tests/must.h"
#include "tests/passes/samples.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
std::vector<std::string> models() {
  std::vector<std::string> out;
  for (const char* folder : {"/exports", "/parameters", "/models", "/encoder-decoder"})
    for (const auto& entry : fs::recursive_directory_iterator(std::string(OPTP_TEST_DATA) + folder))
      if (entry.path().extension() == ".onnx") out.push_back(entry.path().string());
  std::sort(out.begin(), out.end());
  return out;
}

void same_tensor(const Tensor& a, const Tensor& b) {
  CHECK(a.dtype == b.dtype);
  CHECK(a.dims == b.dims);
  if (a.is_missing() || !b.is_missing()) CHECK(a.missing == b.missing);
  if (!b.is_missing()) CHECK(a.bytes == b.bytes);
}
void same_value(const Value& a, const Value& b) {
  INFO(a.name);
  CHECK(a.name == b.name);
  CHECK(a.type == b.type);
  REQUIRE(a.is_data() == b.is_data());
  if (a.is_data()) same_tensor(*a.data, *b.data);
  CHECK(a.is_anonymous == b.is_anonymous);
  CHECK(a.is_literal == b.is_literal);
  CHECK(a.is_parameter == b.is_parameter);
  CHECK(a.frozen == b.frozen);
  CHECK(a.model_name == b.model_name);
  CHECK(a.model_aliases == b.model_aliases);
  CHECK(a.aliases == b.aliases);
  CHECK(a.transposed_aliases == b.transposed_aliases);
  if (a.content) {
    REQUIRE(b.content);
    CHECK(a.content->dims == b.content->dims);
    CHECK(a.content->elements == b.content->elements);
  }
  REQUIRE(a.sharding.has_value() == b.sharding.has_value());
  if (a.sharding) {
    CHECK(same_placement(*a.sharding, *b.sharding));
    for (size_t d = 0; d < a.sharding->dims.size(); ++d)
      if (a.sharding->dims[d].is_split()) CHECK(a.sharding->dims[d].parts == b.sharding->dims[d].parts);
  }
  CHECK(a.logical_dims == b.logical_dims);
  CHECK(a.cause.text == b.cause.text);
  CHECK(a.cause.from == b.cause.from);
  CHECK(a.shard == b.shard);
}
void same_node(const Node& a, const Node& b) {
  INFO(a.out().name);
  CHECK(a.op == b.op);
  CHECK(a.name == b.name);
  CHECK(a.origin == b.origin);
  CHECK(a.module == b.module);
  CHECK(a.phase == b.phase);
  CHECK(a.attributes == b.attributes);
  REQUIRE(a.operands.size() == b.operands.size());
  for (size_t k = 0; k < a.operands.size(); ++k) CHECK(a.operand(k).name == b.operand(k).name);
  REQUIRE(a.results.size() == b.results.size());
  for (size_t k = 0; k < a.results.size(); ++k) same_value(a.out(k), b.out(k));
}
void same_roles(const Graph& a, const Graph& b) {
  const auto text = [](const Graph& g) {
    std::string out = g.name + "|" + g.source + "|" + to_string(g.mesh) + "|" + std::to_string(g.rank.value_or(-1));
    for (const GraphOutput& o : g.outputs) out += "|output " + o.name + "=" + o.value->name;
    for (const Guard& x : g.guards) out += "|guard " + x.left.text() + "=" + x.right.text() + " " + to_string(x.at);
    for (const State& s : g.states) out += "|state " + s.input + s.output + std::to_string(s.axis);
    for (const Update& u : g.updates)
      out += "|update " + u.input + "," + u.output + "," + u.parameter + "," + u.kind.text();
    for (const GradientOutput& x : g.gradients) out += "|gradient " + x.parameter + "," + x.output;
    for (const Remark& r : g.remarks) out += ("|remark " + r.pass + " " + to_string(r.kind) + " " + r.text).str();
    return out;
  };
  CHECK(text(a) == text(b));
}
void same_graph(const Graph& a, const Graph& b) {
  REQUIRE(a.inputs.size() == b.inputs.size());
  for (size_t k = 0; k < a.inputs.size(); ++k) same_value(*a.inputs[k], *b.inputs[k]);
  const auto x = a.data(), y = b.data();
  REQUIRE(x.size() == y.size());
  for (size_t k = 0; k < x.size(); ++k) same_value(*x[k], *y[k]);
  REQUIRE(a.nodes.size() == b.nodes.size());
  for (auto p = a.nodes.begin(), q = b.nodes.begin(); p != a.nodes.end(); ++p, ++q) same_node(**p, **q);
  same_roles(a, b);
}

// The graph, as it is read from its text; what numbers the text leaves out it has from the graph.
std::unique_ptr<Graph> through_text(const Graph& graph, llvm::StringRef stage) {
  const std::string text = to_string(graph);
  auto read = must(parse_graph(text, stage));
  CHECK(to_string(*read) == text);
  for (Value* v : read->data()) {
    const Value* original = graph.find(v->name);
    REQUIRE(original);
    REQUIRE(original->is_data());
    if (v->data->is_missing() && !original->data->is_missing()) {
      CHECK(llvm::StringRef(v->data->missing).starts_with("xxh3:"));
      v->data = original->data;
    }
  }
  same_graph(graph, *read);
  return read;
}
// All ranks' texts, or what a pass refused. `as_text`: each stage goes on from its text. Not those that hand on values
// of the graph; of them the text alone is looked at.
std::string ranks_of(const Graph& imported, bool training, bool as_text) {
  Compilation c;
  c.whole = imported.clone();
  c.trains = training;
  c.training.learning_rate = 1e-3;
  StageHooks hooks;
  if (as_text)
    hooks.after = [&](const Stage& stage, const Graph& graph, std::optional<int64_t> rank, double) {
      auto read = through_text(graph, stage.name);
      if (llvm::is_contained({"annotate", "repeat-heads", "lower-norms", "build-loss", "differentiate", "accumulate",
                              "training-outputs"},
                             llvm::StringRef(stage.name)))
        return llvm::Error::success();
      (rank ? c.ranks[size_t(*rank)] : c.spmd ? c.spmd : c.whole) = std::move(read);
      return llvm::Error::success();
    };
  if (as_text) c.whole = through_text(*c.whole, "import");
  if (auto e = run_pipeline(c, hooks)) return llvm::toString(std::move(e));
  std::string out;
  for (const auto& rank : c.ranks) out += to_string(*rank);
  return out;
}
}  // namespace

TEST_CASE("a graph of any op reads as it prints, and an op takes as many operands as it says") {
  const samples::Table table;
  for (const OpDef* op : all_ops())
    for (const samples::Sample& sample : table.of(op->name)) {
      CAPTURE(op->name);
      Graph graph;
      Builder build(graph);
      build.set_fold(false);
      llvm::SmallVector<Value*, 3> inputs;
      for (const samples::Input& input : sample.inputs)
        inputs.push_back(&graph.add_input("x", {input.dtype, input.dims}));
      graph.outputs.push_back({"y", must(sample.make(build, inputs))});
      through_text(graph, op->name);
    }
}

TEST_CASE("every stage of every export reads as it prints, and what is read goes the same way on") {
#ifdef __SANITIZE_THREAD__
  const std::vector<int64_t> all_devices{2};  // one thread does this, twenty times slower
#else
  const std::vector<int64_t> all_devices{1, 2, 3};
#endif
  int64_t compiled = 0;
  for (const std::string& path : models()) {
    const auto imported = must(import_onnx(path));
    for (const int64_t devices : all_devices)
      for (bool training : {false, true}) {
        CAPTURE(path);
        CAPTURE(devices);
        CAPTURE(training);
        imported->mesh = must(parse_mesh(std::to_string(devices)));
        const std::string ranks = ranks_of(*imported, training, /*as_text=*/true);
        CHECK(ranks == ranks_of(*imported, training, /*as_text=*/false));
        compiled += llvm::StringRef(ranks).starts_with("graph ");
      }
  }
  // The others are no language models, which training refuses.
  CHECK(compiled > int64_t(all_devices.size() * models().size()));
}
