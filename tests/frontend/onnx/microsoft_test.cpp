// com.microsoft's operators: key masks of Attention in their forms, defaults, and what is refused.
#include <cmath>

#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
constexpr int float32 = onnx::TensorProto::FLOAT, int32 = onnx::TensorProto::INT32;

onnx::ModelProto microsoft_model() {
  auto m = empty_model();
  auto& domain = *m.add_opset_import();
  domain.set_domain("com.microsoft");
  domain.set_version(1);
  return m;
}
onnx::NodeProto& add_microsoft(onnx::ModelProto& m, const char* op, const Names& inputs, const char* output = "y") {
  auto& node = add_node(m, op, "the_node", inputs, {output});
  node.set_domain("com.microsoft");
  m.mutable_graph()->add_output()->set_name(output);
  return node;
}
// A dim is a number or an expression over names.
void add_named(onnx::ModelProto& m, const char* name, int dtype, const Names& dims) {
  auto& input = add_input(m, name, dtype, Numbers(dims.size(), 1));
  for (size_t k = 0; k < dims.size(); ++k) {
    auto& d = *input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(int(k));
    if (std::isdigit(dims[k][0]) && dims[k].size() == 1)
      d.set_dim_value(dims[k][0] - '0');
    else
      d.set_dim_param(dims[k]);
  }
}
onnx::ModelProto masked_attention(const Names& x_dims, const Names& mask_dims) {
  auto m = microsoft_model();
  add_named(m, "x", float32, x_dims);
  add_input(m, "w", float32, {6, 18});
  add_named(m, "mask", int32, mask_dims);
  set(add_microsoft(m, "Attention", {"x", "w", "", "mask"}), "num_heads", int64_t(2));
  return m;
}
std::vector<double> attended(const Names& mask_dims, const Array& mask) {
  auto graph = accept("a mask", masked_attention({"b", "s", "6"}, mask_dims));
  REQUIRE(graph);
  auto bound = must(bind_dims(*graph, {{"b", 2}, {"s", 4}}));
  const NamedArrays inputs{{"x", some({2, 4, 6}, 1)}, {"w", some({6, 18}, 2)}, {"mask", mask}};
  return must(run_reference({bound.get()}, {inputs}))[0].at("y").f;
}
}  // namespace

TEST_CASE("Attention's mask_index counts keys, or says where they end and start, as a mask of ones and zeros does") {
  const auto ends = attended({"b", "s"}, integers({2, 4}, {1, 1, 1, 0, 1, 1, 0, 0}));
  CHECK(attended({"b"}, integers({2}, {3, 2})) == ends);
  const auto middles = attended({"b", "s"}, integers({2, 4}, {1, 1, 1, 0, 0, 0, 1, 1}));
  CHECK(attended({"2*b"}, integers({4}, {3, 4, 0, 2})) == middles);
  CHECK(ends != middles);
}

TEST_CASE("a mask_index whose extent does not say what it holds is refused, and no batch is made of it") {
  refuse("a name of its own", masked_attention({"b", "s", "6"}, {"m"}),
         {"'the_node' (Attention)", "operand 3 'mask'", "mask_index", "expected [b]", "or [2*b]", "found [m]"});
  refuse("a number beside a name", masked_attention({"b", "s", "6"}, {"2"}), {"mask_index", "found [2]"});
  refuse("another number", masked_attention({"2", "s", "6"}, {"3"}), {"mask_index", "expected [2]", "found [3]"});
  refuse("packed sequences", masked_attention({"b", "s", "6"}, {"3*b + 2"}), {"mask_index", "packed sequences"});
  refuse("the same of numbers", masked_attention({"2", "s", "6"}, {"8"}), {"mask_index", "packed sequences"});
  accept("two sequences", masked_attention({"2", "s", "6"}, {"4"}));
}

TEST_CASE("RotaryEmbedding with a scale is refused, since engines differ") {
  for (float scale : {1.f, 2.f}) {
    auto m = microsoft_model();
    add_input(m, "x", float32, {2, 3, 8});
    add_input(m, "first", onnx::TensorProto::INT64, {1});
    for (const char* name : {"cos", "sin"}) add_input(m, name, float32, {16, 4});
    set(add_microsoft(m, "RotaryEmbedding", {"x", "first", "cos", "sin"}), "scale", scale);
    if (scale == 1)
      accept("a scale of 1", m);
    else
      refuse("a scale", m, {"'the_node' (RotaryEmbedding)", "scale is not supported", "expected 1, found 2"});
  }
}

TEST_CASE("attributes of GroupQueryAttention that change numbers are refused by name and value") {
  auto with = [](const std::function<void(onnx::NodeProto&)>& edit) {
    auto m = microsoft_model();
    add_input(m, "q", float32, {1, 3, 16});
    for (const char* name : {"k", "v"}) add_input(m, name, float32, {1, 3, 8});
    add_input(m, "last", int32, {1});
    add_integers(m, "total", {3}, /*scalar=*/true);
    auto& node = add_microsoft(m, "GroupQueryAttention", {"q", "k", "v", "", "", "last", "total"});
    set(node, "num_heads", int64_t(4)), set(node, "kv_num_heads", int64_t(2));
    edit(node);
    return m;
  };
  accept("the defaults, spelled out", with([](auto& n) {
           set(n, "smooth_softmax", int64_t(-1)), set(n, "causal", int64_t(1)), set(n, "k_quant_type", "NONE");
         }));
  struct Row {
    const char* name;
    int64_t value;
  };
  for (const Row& row : {Row{"smooth_softmax", 1}, {"causal", 0}, {"sliding_window_cache", 1}})
    refuse(row.name, with([&](auto& n) { set(n, row.name, row.value); }),
           {"'the_node' (GroupQueryAttention)",
            std::string(row.name) + " " + std::to_string(row.value) + " is not supported"});
  refuse("a quantized cache", with([](auto& n) { set(n, "v_quant_type", "PER_TENSOR"); }),
         {"v_quant_type 'PER_TENSOR' is not supported"});
}

TEST_CASE("SkipLayerNormalization and its simplified form add 1e-12 to the variance where nothing else is said") {
  for (const char* op : {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}) {
    CAPTURE(op);
    auto m = microsoft_model();
    for (const char* name : {"x", "skip"}) add_input(m, name, float32, {1, 1, 2});
    add_input(m, "scale", float32, {2});
    add_microsoft(m, op, {"x", "skip", "scale"});
    auto graph = accept(op, m);
    REQUIRE(graph);
    const NamedArrays inputs{
        {"x", floats({1, 1, 2}, {1e-4, -1e-4})}, {"skip", floats({1, 1, 2}, {0, 0})}, {"scale", floats({2}, {1, 1})}};
    const Array y = must(run_reference({graph.get()}, {inputs}))[0].at("y");
    for (size_t k : {0u, 1u})
      CHECK(y.f[k] == doctest::Approx((k ? -1 : 1) * 1e-4 / std::sqrt(1e-8 + 1e-12)).epsilon(1e-9));
  }
}
