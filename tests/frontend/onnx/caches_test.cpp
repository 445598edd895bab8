// Which inputs may be empty: those that an output extends, and no others, whatever their names.
#include "frontend/onnx/caches.h"

#include "frontend/ir/dim.h"
#include "tests/frontend/onnx/model_file.h"

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

TEST_CASE("the length of a cache may be 0, that of an encoder's frames not") {
  auto m = empty_model();
  auto named = [&](const char* input, const char* length) {
    add_input(m, input, onnx::TensorProto::FLOAT, {1, -1, 4})
        .mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(1)
        ->set_dim_param(length);
  };
  named("past", "cached_length"), named("new", "new_length"), named("frames", "frame_count");
  add_node(m, "Concat", "the_node", {"past", "new"}, {"present"});
  set(first_node(m), "axis", int64_t(1));
  add_node(m, "Relu", "other", {"frames"}, {"y"});
  for (const char* o : {"present", "y"}) m.mutable_graph()->add_output()->set_name(o);
  REQUIRE(accept("caches", m));
  CHECK(lower_bound(Dim::symbol("cached_length")) == 0);
  CHECK(lower_bound(Dim::symbol("frame_count")) == 1);
}
