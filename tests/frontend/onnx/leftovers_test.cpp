// What writers leave in files that every other reader takes: it is read as ONNX Runtime reads it, and remarked where it
// contradicts the graph.
#include "frontend/onnx/replace_weights.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
constexpr int float32 = onnx::TensorProto::FLOAT, int64 = onnx::TensorProto::INT64;
onnx::ValueInfoProto& value_info(onnx::ModelProto& m, const std::string& name, int dtype, const Numbers& dims) {
  return describe(*m.mutable_graph()->add_value_info(), name, dtype, dims);
}
Names remarks_of(const std::string& what, const onnx::ModelProto& m) {
  auto graph = accept(what, m);
  if (!graph) return {};
  CHECK(to_string(graph->find("h")->type.dims) == "[2, 4]");
  CHECK(to_string(graph->outputs[0].value->type.dims) == "[2, 4]");
  return texts(graph->remarks);
}
}  // namespace

TEST_CASE("value_info that is repeated or says another shape is remarked once, with a count and the first names") {
  auto m = small_model();
  for (int k = 0; k < 3; ++k) value_info(m, "h", float32, {2, 4});
  CHECK(remarks_of("thrice", m) == Names{"value_info is given more than once for 1 value: 'h'"});
  m = small_model();
  value_info(m, "h", float32, {2, 5});
  const std::string other =
      "value_info: the file says another shape than the graph computes of 1 value: 'h'; the graph has the word";
  CHECK(remarks_of("another extent", m) == Names{other});
  m = small_model();
  value_info(m, "h", float32, {2, 4, 1});
  CHECK(remarks_of("another number of dims", m) == Names{other});
  m = small_model();
  value_info(m, "h", float32, {2, 4}), value_info(m, "h", float32, {7, 7});
  CHECK(remarks_of("twice, the second stale", m) ==
        Names{"value_info is given more than once for 1 value: 'h'", other});
  m = small_model();
  for (int k = 0; k < 5; ++k) {
    add_node(m, "Relu", "", {"h"}, {"v" + std::to_string(k)});
    for (int twice = 0; twice < 2; ++twice) value_info(m, "v" + std::to_string(k), float32, {9});
  }
  CHECK(remarks_of("many", m) == Names{"value_info is given more than once for 5 values: 'v0', 'v1', 'v2' and 2 more",
                                       "value_info: the file says another shape than the graph computes of 5 values: "
                                       "'v0', 'v1', 'v2' and 2 more; the graph has the word"});
  m = small_model();
  value_info(m, "w", float32, {4, 3}), value_info(m, "x", int64, {2});  // the tensor and the input have the word
  CHECK(remarks_of("of an initializer and an input", m).size() == 1);
  m = small_model();
  value_info(m, "gone", int64, {2, 4}), value_info(m, "gone", float32, {1});
  CHECK(remarks_of("of nothing", m) == Names{"value_info is given more than once for 1 value: 'gone'"});
}

TEST_CASE("an output's shape that the graph does not have is remarked") {
  for (const Numbers& dims : {Numbers{2, 3}, Numbers{2, 4, 1}, Numbers{}}) {
    auto m = small_model();
    m.mutable_graph()->mutable_output(0)->clear_type();
    describe(*m.mutable_graph()->mutable_output(0), "y", float32, dims);
    CHECK(remarks_of("output", m) ==
          Names{"output: the file says another shape than the graph computes of 1 value: 'y'; the graph has the word"});
  }
}

TEST_CASE("what says nothing of the meaning is no fault") {
  auto m = small_model();
  for (auto& n : *m.mutable_graph()->mutable_node()) n.clear_name();
  accept("nodes without names", m);
  for (auto& n : *m.mutable_graph()->mutable_node()) n.set_name("n"), n.set_doc_string("doc");
  accept("one name for all nodes", m);
  m = small_model();
  add_input(m, "w", float32, {-1, -1});
  accept("an initializer that may be overridden, its dims named", m);
  m.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  accept("… and without a shape", m);
  m = small_model();
  add_node(m, "Identity", "", {"y"}, {"y1"}), add_node(m, "Identity", "", {"y1"}, {"y2"});
  m.mutable_graph()->add_output()->set_name("y2");
  auto graph = accept("a chain of Identity to an output", m);
  REQUIRE(graph);
  CHECK(graph->outputs[1].name == "y2");
  m = small_model();
  auto& unused = *m.mutable_graph()->add_initializer();
  unused.set_name("scales");
  unused.set_data_type(17);  // float8
  unused.add_dims(2);
  unused.set_raw_data("ab");
  accept("an unused initializer of a type that is not read", m);
  first_node(m).set_input(1, "scales");
  refuse("the same, used", m, {"initializer 'scales'", "17"});
  m = small_model();
  m.mutable_graph()
      ->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_value(-1);
  graph = accept("an extent of -1: open", m);
  REQUIRE(graph);
  CHECK(graph->inputs[0]->type.dims[0].text() == "x.0");
  for (int64_t version : {8, 9, 10, 11, 12, 13}) {
    m = small_model();
    m.set_ir_version(version);
    accept("IR version", m);
  }
  m = small_model();
  for (const char* domain : {"com.microsoft", "com.microsoft.nchwc", "ai.onnx.ml", "my.own"}) {
    auto& set = *m.add_opset_import();
    set.set_domain(domain);
    set.set_version(77);
  }
  accept("domains that no node uses, of any version", m);
  for (int64_t opset = 11; opset <= 28; ++opset) {
    m = small_model();
    m.mutable_opset_import(0)->set_version(opset);
    accept("opset " + std::to_string(opset), m);
  }
}

TEST_CASE("fields of later IR versions are passed over: metadata of nodes, devices, multi-device sharding") {
  auto m = small_model();
  for (auto& n : *m.mutable_graph()->mutable_node()) {
    std::string bytes = n.SerializeAsString();
    bytes += std::string("\x4a\x06\x0a\x01k\x12\x01v", 8) + std::string(
                                                                "\x52\x03\x0a\x01"
                                                                "c",
                                                                5);  // fields 9 and 10
    REQUIRE(n.ParseFromString(bytes));
  }
  auto graph = accept("metadata_props of nodes", m);
  REQUIRE(graph);
  CHECK(graph->size() == 2);
}

TEST_CASE("a trained weight that stands in a Constant node gets an initializer in its place") {
  auto m = empty_model();
  add_input(m, "x", float32, {2, 2});
  auto& t = *attribute(add_node(m, "Constant", "", {}, {"w"}), "value", onnx::AttributeProto::TENSOR).mutable_t();
  t.set_data_type(float32);
  for (int64_t d : {2, 2}) t.add_dims(d);
  for (float v : {1.f, 2.f, 3.f, 4.f}) t.add_float_data(v);
  add_node(m, "MatMul", "product", {"x", "w"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  const ScratchFolder folder;
  const std::vector<float> trained = {5, 6, 7, 8};
  NewWeight w{"w", {}, {}, [&]() -> llvm::Expected<HostArray> {
                const char* bytes = reinterpret_cast<const char*>(trained.data());
                return HostArray{DType::f32, {2, 2}, std::vector<char>(bytes, bytes + 16)};
              }};
  auto replaced = replace_weights(folder.put("model.onnx", m.SerializeAsString()), w, folder / "out.onnx");
  REQUIRE(bool(replaced));
  CHECK(replaced->added == Names{"w"});
  auto graph = accept_file("trained", folder / "out.onnx");
  REQUIRE(graph);
  REQUIRE(graph->data().size() == 1);
  CHECK(graph->data()[0]->name == "w");
  CHECK(to_array(*graph->data()[0]->data).f == std::vector<double>{5, 6, 7, 8});
}
