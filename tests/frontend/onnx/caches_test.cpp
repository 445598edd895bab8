// Which inputs may be empty: those that an output extends, and no others, whatever their names.
#include "frontend/onnx/caches.h"

#include "frontend/ir/dim.h"
#include "frontend/ir/parse.h"
#include "frontend/onnx/export.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
std::vector<std::string> extended(const onnx::ModelProto& m) {
  std::vector<std::string> out;
  for (const auto& i : m.graph().input())
    if (extended_inputs(m).contains(i.name())) out.push_back(i.name());
  return out;
}
}  // namespace

TEST_CASE("an input is a cache where it comes out with more behind it, moved only") {
  struct Row {
    const char* what;
    std::function<void(onnx::ModelProto&)> nodes;
    bool is_cache;
  };
  const std::initializer_list<Row> rows{
      {"concat", [](auto& m) { add_node(m, "Concat", "c", {"x", "new"}, {"y"}); }, true},
      {"transposed and back",
       [](auto& m) {
         add_node(m, "Transpose", "t", {"x"}, {"t"}), add_node(m, "Concat", "c", {"t", "new"}, {"c"}),
             add_node(m, "Transpose", "u", {"c"}, {"y"});
       },
       true},
      {"one of a stack",
       [](auto& m) {
         add_node(m, "Split", "s", {"x"}, {"k", "v"}), add_node(m, "Squeeze", "q", {"v"}, {"w"}),
             add_node(m, "Concat", "c", {"w", "new"}, {"y"});
       },
       true},
      {"Attention's cache",
       [](auto& m) { add_node(m, "Attention", "a", {"q", "k", "v", "", "x", "other"}, {"o", "y", "z"}); }, true},
      {"Attention's keys", [](auto& m) { add_node(m, "Attention", "a", {"q", "x", "v"}, {"y"}); }, false},
      {"given out as it is", [](auto& m) { add_node(m, "Identity", "i", {"x"}, {"y"}); }, false},
      {"computed with",
       [](auto& m) { add_node(m, "MatMul", "m", {"x", "w"}, {"t"}), add_node(m, "Concat", "c", {"t", "new"}, {"y"}); },
       false},
      {"not given out",
       [](auto& m) { add_node(m, "Concat", "c", {"x", "new"}, {"t"}), add_node(m, "MatMul", "m", {"t", "w"}, {"y"}); },
       false},
      {"what a function of the model is given",
       [](auto& m) { m.add_functions()->set_name("extend"), add_node(m, "extend", "f", {"x", "new"}, {"y"}); }, true},
      {"an index",
       [](auto& m) {
         add_node(m, "Gather", "g", {"table", "x"}, {"t"}), add_node(m, "Concat", "c", {"t", "new"}, {"y"});
       },
       false},
      {"a cycle",
       [](auto& m) { add_node(m, "Identity", "i", {"b"}, {"a"}), add_node(m, "Concat", "c", {"a", "x"}, {"b"}); },
       false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    auto m = empty_model();
    add_input(m, "x", onnx::TensorProto::FLOAT, {1, 2, -1, 4});
    row.nodes(m);
    m.mutable_graph()->add_output()->set_name("y");
    CHECK(extended(m) == (row.is_cache ? std::vector<std::string>{"x"} : std::vector<std::string>{}));
  }
}

namespace {
onnx::ModelProto cached_model(const char* cached, const char* frames) {
  auto m = empty_model();
  auto named = [&](const char* input, const char* length) {
    add_input(m, input, onnx::TensorProto::FLOAT, {1, -1, 4})
        .mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(1)
        ->set_dim_param(length);
  };
  named("past", cached), named("new", "new_length"), named("frames", frames);
  add_node(m, "Concat", "the_node", {"past", "computed"}, {"present"});
  set(first_node(m), "axis", int64_t(1));
  add_node(m, "Relu", "of_new", {"new"}, {"computed"});
  add_node(m, "Relu", "other", {"frames"}, {"y"});
  for (const char* o : {"present", "y"}) m.mutable_graph()->add_output()->set_name(o);
  return m;
}
// Of dim 1 of each input: what it may be at least.
std::vector<std::optional<int64_t>> bounds(const Graph& graph) {
  std::vector<std::optional<int64_t>> out;
  for (const Value* v : graph.inputs) out.push_back(lower_bound(v->type.dims[1]));
  return out;
}
}  // namespace

TEST_CASE("the length of a cache may be 0, that of an encoder's frames not, whatever else was read in the process") {
  const ScratchFolder folder;
  auto read = [&](const char* cached, const char* frames) {
    return must(import_onnx(folder.put("model.onnx", cached_model(cached, frames).SerializeAsString())));
  };
  const auto first = read("cached_length", "frame_count");
  CHECK(bounds(*first) == std::vector<std::optional<int64_t>>{0, 1, 1});
  // Another model gives the same names to other things: neither sees the other's bounds.
  const auto second = read("frame_count", "cached_length");
  CHECK(bounds(*second) == std::vector<std::optional<int64_t>>{0, 1, 1});
  CHECK(bounds(*first) == std::vector<std::optional<int64_t>>{0, 1, 1});
  CHECK(first->outputs[0].value->type.dims[1].text() == "cached_length + new_length");
  CHECK(lower_bound(first->outputs[0].value->type.dims[1]) == 1);
  // What is written of a length that may be 0 is read as such: of one from 1, max(past, 1) is the length itself.
  CHECK(read("past", "max(past, 1)")->inputs[2]->type.dims[1] == maximum(Dim::symbol("past", 0), 1));
  CHECK(read("other", "max(past, 1)")->inputs[2]->type.dims[1] == Dim::symbol("past"));
}
TEST_CASE("a graph whose caches may be empty reads as it prints, bounds and all") {
  const ScratchFolder folder;
  const auto graph = must(import_onnx(folder.put("model.onnx", cached_model("past", "frames").SerializeAsString())));
  const std::string text = to_string(*graph);
  CHECK(llvm::StringRef(text).contains("\ndim past >= 0\n"));
  const auto again = must(parse_graph(text, "g.ir"));
  CHECK(to_string(*again) == text);
  CHECK(bounds(*again) == bounds(*graph));
  for (size_t k = 0; k < graph->inputs.size(); ++k) CHECK(again->inputs[k]->type.dims == graph->inputs[k]->type.dims);
}
TEST_CASE("extents of images and frames are at least 1 in a rank's file as they are in the whole's") {
  const ScratchFolder folder;
  // As a training step's is, a rank's graph may be without the outputs that extend caches.
  const auto graph = must(import_onnx(folder.put("model.onnx", cached_model("past", "frames").SerializeAsString())));
  graph->rank = 0;
  auto out = must(OutputTransaction::begin(folder / "parts"));
  must(write_rank_model(*graph, out, "rank0"));
  must(out.commit());
  CHECK(bounds(*must(import_onnx(folder / "parts/rank0/model.onnx"))) == bounds(*graph));
}
