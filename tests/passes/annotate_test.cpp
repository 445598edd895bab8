// What annotate and split make of layers, as text: where sums are taken, and what is never added twice.
#include <doctest/doctest.h>

#include "frontend/ir/builder.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/pipeline.h"
#include "tests/must.h"

using namespace optp;

namespace {
Value& weight(Graph& graph, llvm::StringRef name, llvm::ArrayRef<int64_t> dims) {
  Array array;
  array.resize(true, dims);
  Value& v = graph.add_data(name, to_tensor(array, DType::f32));
  v.is_parameter = true;
  return v;
}
// y = x + f(norm(x) · up + up.bias) · down + down.bias: the norm keeps the hidden dim whole
void add_mlp(Graph& graph, llvm::StringRef activation) {
  Builder build(graph);
  const Dim b = Dim::symbol("b");
  Value& x = graph.add_input("x", {DType::f32, {b, 8}});
  auto made = [&](llvm::StringRef op, llvm::ArrayRef<Value*> operands, const char* name, Attributes attributes = {}) {
    return must(build.create(op, operands, std::move(attributes), name));
  };
  const Attributes loops{{"loops", contract_loops("b k, k n -> b n")}};
  Value* h = made("layer_norm", {&x, &weight(graph, "scale", {8})}, "norm");
  h = made("contract", {h, &weight(graph, "up", {8, 12})}, "h", loops);
  h = made("add", {h, &weight(graph, "up.bias", {12})}, "h.biased");
  h = activation == "softmax" ? made("softmax", {h}, "act", {{"axis", int64_t(1)}}) : made(activation, {h}, "act");
  h = made("contract", {h, &weight(graph, "down", {12, 8})}, "sum", loops);
  graph.outputs.push_back({"y", made("add", {made("add", {h, &weight(graph, "down.bias", {8})}, "biased"), &x}, "y")});
}
// A line a node: result, op, operands with their local types; then what the result is of the whole.
std::string split_text(Graph& graph, const PassOptions& options = {}) {
  if (auto e = run_stages(graph, "annotate", "join-partials", options)) return llvm::toString(std::move(e));
  const auto spmd = must(split(graph, options));
  std::string out;
  for (const auto& node : spmd->nodes) {
    out += "%" + node->out().name + " = " + node->op->name + "(";
    for (size_t k = 0; k < node->operands.size(); ++k)
      out += (k ? ", %" : "%") + node->operand(k).name + ": " + to_string(node->operand(k).type);
    out += ") " + to_string(*node->out().sharding) + "\n";
  }
  return out;
}
Graph& with_mesh(Graph& graph, llvm::StringRef mesh) {
  graph.mesh = must(parse_mesh(mesh));
  return graph;
}
}  // namespace

TEST_CASE(
    "an mlp's first product is split by columns and its second by rows, with one sum, and the row bias is added after "
    "it") {
  Graph g;
  add_mlp(g, "relu");
  CHECK(split_text(with_mesh(g, "tensor=5")) ==
        "%norm = layer_norm(%x: f32[b, 8], %scale: f32[8]) [_, _]\n"
        "%h = contract(%norm: f32[b, 8], %up: f32[8, part(12, tensor)]) [_, tensor]\n"
        "%h.biased = add(%h: f32[b, part(12, tensor)], %up.bias: f32[part(12, tensor)]) [_, tensor]\n"
        "%act = relu(%h.biased: f32[b, part(12, tensor)]) [_, tensor]\n"
        "%sum = contract(%act: f32[b, part(12, tensor)], %down: f32[part(12, tensor), 8]) [_, _] partial(sum: tensor)\n"
        "%sum.all_reduce = all_reduce(%sum: f32[b, 8]) [_, _]\n"
        "%biased = add(%sum.all_reduce: f32[b, 8], %down.bias: f32[8]) [_, _]\n"
        "%y = add(%biased: f32[b, 8], %x: f32[b, 8]) [_, _]\n");
}

// y = x + (mlp a + bias) + (mlp b + bias), as models with parallel branches export it
void add_parallel_mlps(Graph& graph) {
  Builder build(graph);
  Value& x = graph.add_input("x", {DType::f32, {Dim::symbol("b"), 8}});
  auto made = [&](llvm::StringRef op, llvm::ArrayRef<Value*> operands, llvm::StringRef name,
                  Attributes attributes = {}) { return must(build.create(op, operands, std::move(attributes), name)); };
  const Attributes loops{{"loops", contract_loops("b k, k n -> b n")}};
  Value* norm = made("layer_norm", {&x, &weight(graph, "scale", {8})}, "norm");
  auto mlp = [&](const std::string& name) {
    Value* h = made("contract", {norm, &weight(graph, (name + ".up").c_str(), {8, 12})}, name + ".h", loops);
    h = made("contract", {made("relu", {h}, name + ".act"), &weight(graph, (name + ".down").c_str(), {12, 8})},
             name + ".sum", loops);
    return made("add", {h, &weight(graph, (name + ".bias").c_str(), {8})}, name + ".out");
  };
  Value* a = mlp("a");
  graph.outputs.push_back({"y", made("add", {made("add", {&x, a}, "first"), mlp("b")}, "y")});
}

TEST_CASE("partial sums of branches side by side are added up first and reduced once") {
  Graph g;
  add_parallel_mlps(g);
  const std::string text = split_text(with_mesh(g, "tensor=2"));
  CAPTURE(text);
  CHECK(text.substr(text.find("%y.parts")) ==
        "%y.parts = add(%a.sum: f32[b, 8], %b.sum: f32[b, 8]) [_, _] partial(sum: tensor)\n"
        "%y.parts.all_reduce = all_reduce(%y.parts: f32[b, 8]) [_, _]\n"
        "%y.sum = add(%y.parts.all_reduce: f32[b, 8], %x: f32[b, 8]) [_, _]\n"
        "%y.sum.1 = add(%y.sum: f32[b, 8], %a.bias: f32[8]) [_, _]\n"
        "%y = add(%y.sum.1: f32[b, 8], %b.bias: f32[8]) [_, _]\n");
  CHECK(text.find("all_reduce(") == text.rfind("all_reduce("));
}

TEST_CASE("a value that a constraint names is not taken apart to join partial sums") {
  Graph g;
  add_parallel_mlps(g);
  PassOptions options;
  options.constraints = {{"a.out", "[_, _]", file_place("test", 1)}};
  const std::string text = split_text(with_mesh(g, "tensor=2"), options);
  CAPTURE(text);
  CHECK(text.find("%a.out = add(%a.sum.all_reduce") != std::string::npos);
}

TEST_CASE("on one device nothing is split and nothing is sent") {
  Graph g;
  add_mlp(g, "relu");
  CHECK(split_text(with_mesh(g, "tensor=1")).find("all_reduce") == std::string::npos);
}

TEST_CASE("an activation that needs its whole dim keeps the mlp whole, and the reason is said") {
  Graph g;
  add_mlp(g, "softmax");
  const std::string text = split_text(with_mesh(g, "tensor=2"));
  CAPTURE(text);
  CHECK(text.find("finds nothing to split; nearest: dim 0 of 'up' (layer_norm needs it whole), dim 1 of 'up' (softmax "
                  "needs it whole)") != std::string::npos);
  CHECK(row_of(take_diagnostic(run_stages(g, "annotate", "annotate")).code()).name ==
        std::string("bad-input/nothing-to-split"));
}

TEST_CASE("two products that are added stay parts until their sum: one all_reduce for both") {
  Graph g;
  Builder build(g);
  Value& x = g.add_input("x", {DType::f32, {4, 8}});
  const Attributes loops{{"loops", contract_loops("b k, k n -> b n")}};
  Value* norm = must(build.create("layer_norm", {&x, &weight(g, "scale", {8})}, {}, "norm"));
  auto branch = [&](const std::string& n) {
    Value* h = must(build.create("contract", {norm, &weight(g, "up" + n, {8, 12})}, loops, "h" + n));
    h = must(build.create("relu", {h}, {}, "act" + n));
    return must(build.create("contract", {h, &weight(g, "down" + n, {12, 8})}, loops, "sum" + n));
  };
  Value *a = branch("1"), *b = branch("2");
  g.outputs.push_back({"y", must(build.create("add", {must(build.create("add", {a, b}, {}, "both")), &x}, {}, "y"))});
  const std::string text = split_text(with_mesh(g, "tensor=2"));
  CAPTURE(text);
  CHECK(text.find("%both = add(%sum1: f32[4, 8], %sum2: f32[4, 8]) [_, _] partial(sum: tensor)\n%both.all_reduce = "
                  "all_reduce(%both: f32[4, 8]) [_, _]\n") != std::string::npos);
  CHECK(text.find("all_reduce(%sum") == std::string::npos);
}

TEST_CASE("a product that a constraint splits along the axis it is summed over is summed as it is cut") {
  Graph g;
  Builder build(g);
  Value& x = g.add_input("x", {DType::f32, {4, 8}});
  Value* h = must(build.create("layer_norm", {&x, &weight(g, "scale", {8})}, {}, "norm"));
  h = must(
      build.create("contract", {h, &weight(g, "up", {8, 12})}, {{"loops", contract_loops("b k, k n -> b n")}}, "h"));
  h = must(build.create("contract", {h, &weight(g, "down", {12, 8})}, {{"loops", contract_loops("b k, k n -> b 1 n")}},
                        "sum"));
  h = must(build.create("reshape", {h}, {{"dims", Dims{4, 8}}}, "flat"));
  g.outputs.push_back({"y", must(build.create("add", {h, &x}, {}, "y"))});
  PassOptions options;
  options.constraints.push_back({"sum", "[_, tensor, _]", words("test: 1")});
  const std::string text = split_text(with_mesh(g, "tensor=2"), options);
  CAPTURE(text);
  CHECK(text.find("%sum.reduce_scatter = reduce_scatter(%sum: f32[4, 1, 8]) [_, tensor, _]\n") != std::string::npos);
  CHECK(text.find("[_, tensor, _] partial") == std::string::npos);
}
