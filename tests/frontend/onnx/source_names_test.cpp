// What a file's names and notes tell of its source: modules of nodes, made-up names, a bias that was dropped.
#include "frontend/onnx/source_names.h"

#include "passes/pipeline.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
// An entry of metadata_props, which older ONNX libraries do not know.
template <typename Proto>
void note(Proto& node, const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto entry;
  entry.set_key(key), entry.set_value(value);
  if constexpr (requires { node.add_metadata_props(); })
    *node.add_metadata_props() = entry;
  else
    node.mutable_unknown_fields()->AddLengthDelimited(std::is_same_v<Proto, onnx::ValueInfoProto> ? 4 : 9,
                                                      entry.SerializeAsString());
}
// y = Gemm(x, w) as one line of producer, version and beta.
int64_t parameters(const char* producer, const char* version, float beta) {
  auto m = empty_model();
  m.set_producer_name(producer), m.set_producer_version(version);
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  add_floats(m, "w", {3, 4}).mutable_raw_data()->at(0) = 1;
  set(add_node(m, "Gemm", "fc", {"x", "w"}, {"y"}), "beta", beta);
  m.mutable_graph()->add_output()->set_name("y");
  auto graph = accept("gemm", m);
  REQUIRE(graph);
  if (auto e = run_stages(*graph, "absorb-transposes", "find-states")) FAIL(llvm::toString(std::move(e)));
  int64_t elements = 0;
  for (const Value* v : graph->data()) elements += v->is_parameter ? v->data->elements() : 0;
  return elements;
}
}  // namespace

TEST_CASE("a product that had no bias before it was exported gets none") {
  const std::pair<const char*, bool> calls[] = {
      {"%linear_4 : [num_users=1] = call_function[target=torch.ops.aten.linear.default](args = (%x, %p_w), kwargs = "
       "{})",
       true},
      {"%linear : [num_users=2] = call_function[target=torch.ops.aten.linear.default](args = (%x, %p_w, None), kwargs "
       "= "
       "{})",
       true},
      {"%linear : [num_users=1] = call_function[target=torch.ops.aten.linear.default](args = (%x, %p_w, %p_b), kwargs "
       "= "
       "{})",
       false},
      {"%addmm : [num_users=1] = call_function[target=torch.ops.aten.addmm.default](args = (%b, %x), kwargs = {})",
       false},
      {"", false}};
  for (const auto& [text, bare] : calls) {
    onnx::NodeProto n;
    note(n, "pkg.torch.onnx.fx_node", text);
    CHECK(is_known_without_bias(n) == bare);
  }
  CHECK_FALSE(is_known_without_bias(onnx::NodeProto()));
}
TEST_CASE("a node's module is what the exporter notes, or its name without operators") {
  const std::pair<const char*, const char*> names[] = {{"/m/layers.0/fc1/MatMul", "/m/layers.0/fc1"},
                                                       {"/m/block/fc_1/MatMul_12", "/m/block/fc_1"},
                                                       {"/up/MatMul/MatMulAddFusion", "/up"},
                                                       {"/MatMul", ""},
                                                       {"model/dense/Tensordot/MatMul", "model/dense/Tensordot"}};
  for (auto [name, path] : names) {
    onnx::NodeProto n;
    n.set_name(name);
    CHECK(module_of(n) == ModulePath{path, true, true});
  }
  for (const char* name : {"", "MatMul_12", "node_linear_4"}) {
    onnx::NodeProto n;
    n.set_name(name);
    CHECK(!module_of(n).known);
  }
  const std::pair<const char*, const char*> scopes[] = {
      {"['', 'm', 'm.block', 'm.block.fc', 'linear_4']", "m.block.fc"},
      {"['', 'mul']", ""},
      {"['', 'block@1', 'block@1.fc', 'linear']", "block.fc"}};
  for (auto [text, path] : scopes) {
    onnx::NodeProto n;
    n.set_name("/a/b/MatMul");
    note(n, "pkg.torch.onnx.name_scopes", text);
    CHECK(module_of(n) == ModulePath{path, true, false});
  }
  onnx::NodeProto made;
  note(made, "pkg.torch.onnx.name_scopes", "['_empty_nn_module_stack_from_metadata_hook', 'sym_size_int_8']");
  CHECK(!module_of(made).known);
}

TEST_CASE("names that exporters make up are told from the model's") {
  for (const char* name :
       {"onnx::MatMul_363", "val_12", "ones", "zeros_2", "_to_copy_3", "/m/Constant_output_0", "421", "Constant_7"}) {
    CAPTURE(name);
    CHECK(is_generated_name(name));
  }
  for (const char* name : {"m.layers.0.fc1.weight", "pos", "wq", "emb", "block.alpha", "logit_scale", "w1", "bias_2"}) {
    CAPTURE(name);
    CHECK(!is_generated_name(name));
  }
}

TEST_CASE("a Gemm without C has a bias only where the file's exporter drops one of zeros") {
  CHECK(parameters("pytorch", "2.9.0+cpu", 1) == 12 + 4);
  CHECK(parameters("pytorch", "2.9.0", 0) == 12);  // how the older exporter writes torch.mm
  CHECK(parameters("pytorch", "1.13.1", 1) == 12);
  CHECK(parameters("tf2onnx", "2.1", 1) == 12);
  CHECK(parameters("", "", 1) == 12);
}

TEST_CASE("one number is learned only under a name of the model's: other files keep such initializers for constants") {
  auto learned = [](const char* producer, const char* name, float value) {
    auto m = empty_model();
    m.set_producer_name(producer), m.set_producer_version("2.9.0");
    add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
    add_floats(m, "w", {3, 4}).mutable_raw_data()->at(0) = 1;
    add_floats(m, name, {}, value);
    add_node(m, "MatMul", "fc", {"x", "w"}, {"h"});
    add_node(m, "Mul", "scale", {"h", name}, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("number", m);
    REQUIRE(graph);
    if (auto e = run_stages(*graph, "absorb-transposes", "find-states")) FAIL(llvm::toString(std::move(e)));
    return llvm::any_of(graph->data(), [&](const Value* v) { return v->is_parameter && v->name == name; });
  };
  CHECK(learned("pytorch", "block.alpha", 0.3f));
  CHECK(learned("pytorch", "alpha", 0.3f));
  CHECK(learned("", "block.alpha", 0.3f));
  CHECK(!learned("", "alpha", 0.3f));
  CHECK(!learned("pytorch", "val_7", 0.3f));
  CHECK(!learned("pytorch", "embed.scale", 5.656854249f));  // √32
}

TEST_CASE("what the exporter notes to be a buffer is no parameter") {
  for (const char* kind : {"PARAMETER", "BUFFER", ""}) {
    CAPTURE(kind);
    auto m = empty_model();
    m.set_producer_name("pytorch");
    add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
    add_floats(m, "m.scale", {3}), add_floats(m, "m.shift", {3});
    add_node(m, "Mul", "scaled", {"x", "m.scale"}, {"h"});
    add_node(m, "Add", "shifted", {"h", "m.shift"}, {"y"});
    auto& said = describe(*m.mutable_graph()->add_value_info(), "m.shift", onnx::TensorProto::FLOAT, {3});
    note(said, "pkg.torch.export.graph_signature.InputSpec.kind", kind);
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("a buffer", m);
    REQUIRE(graph);
    if (auto e = run_stages(*graph, "absorb-transposes", "find-states")) FAIL(llvm::toString(std::move(e)));
    const bool is_buffer = kind == std::string("BUFFER");
    CHECK(buffers_of(m.graph()).contains("m.shift") == is_buffer);
    for (const Value* v : graph->data()) CHECK(v->is_parameter == (v->name == "m.scale" || !is_buffer));
  }
}
