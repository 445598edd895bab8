// What is wrong with a model file, as other programs read it: the whole object.
#include "frontend/ir/diagnostic_json.h"
#include "llvm/Support/FormatVariadic.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

TEST_CASE("an error of a model file carries its code and parts") {
  struct Row {
    const char* what;
    std::function<void(onnx::ModelProto&)> edit;
    std::string object;
  };
  const Row
      rows[] =
          {
              {"an operand that nothing defines", [](auto& m) { first_node(m).set_input(0, "zzz"); },
               R"json({"code":"bad-input/undefined","exit":65,"file":"model.onnx","message":"model.onnx: node 'product' (MatMul): operand 'zzz' is defined nowhere","node":"product","op":"MatMul","severity":"error","tensor":"zzz"})json"},
              {"an output of two nodes", [](auto& m) { first_node(m).set_output(0, "y"); },
               R"json({"code":"bad-input/duplicate","exit":65,"file":"model.onnx","message":"model.onnx: node 'act' (Relu): output 'y' is defined twice","node":"act","op":"Relu","severity":"error","tensor":"y"})json"},
              {"an operator that is not known", [](auto& m) { first_node(m).set_op_type("Foo"); },
               R"json({"code":"bad-input/unknown-operator","exit":65,"file":"model.onnx","message":"model.onnx: 1 unknown operator: node 'product' (Foo) of domain 'ai.onnx', opset 18","node":"product","op":"Foo","severity":"error"})json"},
              {"an old opset", [](auto& m) { m.mutable_opset_import(0)->set_version(3); },
               R"json({"code":"bad-input/unsupported-version","exit":65,"expected":"11 or later","file":"model.onnx","hint":"export the model again with a newer opset","message":"model.onnx: opset 3: expected 11 or later; export the model again with a newer opset","severity":"error"})json"},
              {"nodes that wait for each other", [](auto& m) { first_node(m).set_input(0, "y"); },
               R"json({"code":"bad-input/cycle","exit":65,"file":"model.onnx","message":"model.onnx: the graph has a cycle of 2 nodes: node 'product' (MatMul) <- node 'act' (Relu)","node":"product","op":"MatMul","severity":"error"})json"},
              {"extents that differ",
               [](auto& m) { m.mutable_graph()->mutable_initializer()->Clear(), add_floats(m, "w", {5, 4}); },
               R"json({"code":"bad-input/shape-mismatch","exit":65,"expected":"extent 3 of dim 0 as in operand 0 [2, 3]","file":"model.onnx","found":"[5, 4]","message":"model.onnx: node 'product' (MatMul), operand 1 'w': shape: expected extent 3 of dim 0 as in operand 0 [2, 3], found [5, 4]","node":"product","op":"MatMul","severity":"error","tensor":"w"})json"},
              {"dtypes that differ",
               [](auto& m) {
                 m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(
                     onnx::TensorProto::DOUBLE);
               },
               R"json({"code":"bad-input/dtype-mismatch","exit":65,"expected":"float64 as operand 0 'x'","file":"model.onnx","found":"float32","message":"model.onnx: node 'product' (MatMul), operand 1 'w': dtype: expected float64 as operand 0 'x', found float32","node":"product","op":"MatMul","severity":"error","tensor":"w"})json"},
              {"too few bytes", [](auto& m) { m.mutable_graph()->mutable_initializer(0)->set_raw_data("abcd"); },
               R"json({"code":"bad-input/size-mismatch","exit":65,"expected":"48 bytes","file":"model.onnx","found":"4","message":"model.onnx: initializer 'w': data: expected 48 bytes, found 4","severity":"error","tensor":"w"})json"},
              {"too many elements",
               [](auto& m) {
                 for (int k = 0; k < 2; ++k) m.mutable_graph()->mutable_initializer(0)->set_dims(k, int64_t(1) << 40);
               },
               R"json({"code":"bad-input/too-large","exit":65,"file":"model.onnx","message":"model.onnx: initializer 'w': dims: more than 281474976710656 elements","severity":"error","tensor":"w"})json"},
              {"a sparse initializer",
               [](auto& m) { m.mutable_graph()->add_sparse_initializer()->mutable_values()->set_name("s"); },
               R"json({"code":"bad-input/not-supported","exit":65,"file":"model.onnx","message":"model.onnx: sparse initializer 's': not supported","severity":"error","tensor":"s"})json"},
              {"an attribute of another type",
               [](auto& m) {
                 auto& n = first_node(m);
                 n.set_op_type("Softmax"), n.mutable_input()->RemoveLast();
                 auto& a = *n.add_attribute();
                 a.set_name("axis"), a.set_type(onnx::AttributeProto::FLOAT), a.set_f(1);
               },
               R"json({"code":"bad-input/malformed","exit":65,"expected":"INT","file":"model.onnx","found":"FLOAT","message":"model.onnx: node 'product' (Softmax): attribute 'axis': type: expected INT, found FLOAT","node":"product","op":"Softmax","severity":"error"})json"},
              {"an axis beyond the dims",
               [](auto& m) {
                 auto& n = first_node(m);
                 n.set_op_type("Softmax"), n.mutable_input()->RemoveLast();
                 auto& a = *n.add_attribute();
                 a.set_name("axis"), a.set_type(onnx::AttributeProto::INT), a.set_i(7);
               },
               R"json({"code":"bad-input/malformed","exit":65,"expected":"from -2 to 1","file":"model.onnx","message":"model.onnx: node 'product' (Softmax): axis 7: expected from -2 to 1","node":"product","op":"Softmax","severity":"error"})json"},
              {"weights outside of the folder",
               [](auto& m) {
                 auto& t = *m.mutable_graph()->mutable_initializer(0);
                 t.clear_raw_data(), t.set_data_location(onnx::TensorProto::EXTERNAL);
                 auto& e = *t.add_external_data();
                 e.set_key("location"), e.set_value("../w");
               },
               R"json({"code":"bad-input/malformed","exit":65,"expected":"a path beneath this folder","file":"model.onnx","found":"one with '..' in it: '../w'","message":"model.onnx: initializer 'w': FOLDER/: location: expected a path beneath this folder, found one with '..' in it: '../w'","severity":"error","tensor":"w"})json"},
          };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    auto m = small_model();
    row.edit(m);
    const ScratchFolder folder;
    const std::string path = folder.put("model.onnx", m.SerializeAsString());
    auto graph = import_onnx(path);
    REQUIRE(!graph);
    const Diagnostic d = take_diagnostic(graph.takeError());
    std::string object = llvm::formatv("{0}", llvm::json::Value(error_object(d, int(d.fault()))));
    for (size_t at = 0; (at = object.find(path)) != std::string::npos;) object.replace(at, path.size(), "model.onnx");
    const std::string beneath = folder / "";
    for (size_t at = 0; (at = object.find(beneath)) != std::string::npos;)
      object.replace(at, beneath.size(), "FOLDER/");
    CHECK(object == row.object);
  }
}

TEST_CASE("an error of a model file says what the model's source calls a node's module, and a weight without a name") {
  const auto found = [](onnx::ModelProto m) {
    const ScratchFolder folder;
    auto graph = import_onnx(folder.put("model.onnx", m.SerializeAsString()));
    REQUIRE(!graph);
    return take_diagnostic(graph.takeError());
  };
  auto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  add_floats(m, "onnx::MatMul_7", {5, 4});
  add_floats(m, "model.layers.0.fc1.bias", {4});
  add_node(m, "MatMul", "/layers.0/fc1/MatMul", {"x", "onnx::MatMul_7"}, {"h"});
  add_node(m, "Add", "/layers.0/fc1/Add", {"h", "model.layers.0.fc1.bias"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  const Diagnostic wrong = found(m);
  CHECK(wrong.message().find(": node '/layers.0/fc1/MatMul' (MatMul of model.layers.0.fc1), operand 1 'onnx::MatMul_7' "
                             "(model.layers.0.fc1.weight): shape: expected extent 3") != std::string::npos);
  CHECK(wrong.parts().module == "model.layers.0.fc1");
  CHECK(wrong.parts().model_name == "model.layers.0.fc1.weight");
  // With a name of its own a tensor has no other, and two users make it nobody's weight.
  auto named = m;
  named.mutable_graph()->mutable_initializer(0)->set_name("w");
  named.mutable_graph()->mutable_node(0)->set_input(1, "w");
  CHECK(found(named).parts().model_name == "");
  auto shared = m;
  add_node(shared, "MatMul", "/layers.1/fc1/MatMul", {"x", "onnx::MatMul_7"}, {"z"});
  CHECK(found(shared).parts().model_name == "");
  CHECK(found(shared).parts().module == "model.layers.0.fc1");
  // Of a file that names no modules nothing is said.
  auto plain = m;
  plain.mutable_graph()->mutable_node(0)->set_name("product");
  CHECK(found(plain).parts().module == "");
}
