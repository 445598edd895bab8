// Operators used wrongly: types, attributes and arguments that make no sense, arithmetic that overflows.
#include <cmath>
#include <tuple>

#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
constexpr int text = onnx::TensorProto::STRING;
constexpr int float32 = onnx::TensorProto::FLOAT;
constexpr int64_t huge = int64_t{1} << 62;
onnx::ModelProto with(onnx::ModelProto m, const std::function<void(onnx::NodeProto&)>& edit) {
  edit(first_node(m));
  return m;
}
}  // namespace

TEST_CASE("a string added to a float is an error that names node, operand, expected and found type") {
  auto m = empty_model();
  add_input(m, "ids", float32, {2, 3});
  add_input(m, "words", text, {2, 3});
  add_node(m, "Add", "/model/Add", {"ids", "words"}, {"sum"});
  m.mutable_graph()->add_output()->set_name("sum");
  const ScratchFolder folder;
  const std::string path = folder.put("model.onnx", m.SerializeAsString());
  refuse_file("string", path);
  CHECK(failure(import_onnx(path)).message ==
        path +
            ": node '/model/Add' (Add), operand 1 'words': dtype: expected float32 as operand 0 'ids', found string");
}

TEST_CASE("strings reach no arithmetic, whichever operator they are given to") {
  for (const char* op : {"Add",
                         "Mul",
                         "Div",
                         "Relu",
                         "LeakyRelu",
                         "Sqrt",
                         "Softmax",
                         "LogSoftmax",
                         "Gelu",
                         "Swish",
                         "Mean",
                         "Sum",
                         "Max",
                         "ReduceSum",
                         "ReduceMean",
                         "Cast",
                         "Trilu",
                         "MatMul",
                         "Gemm",
                         "Pow",
                         "Neg",
                         "Abs",
                         "Sign",
                         "Not",
                         "Where",
                         "CumSum",
                         "LayerNormalization",
                         "RMSNormalization",
                         "Gather",
                         "OneHot",
                         "Pad",
                         "Clip",
                         "GatherND",
                         "GatherElements",
                         "Range"}) {
    auto m = empty_model(24);
    add_input(m, "x", text, {2, 2});
    auto& n = add_node(m, op, "the_node", {"x", "x", "x"}, {"y"});
    if (std::string(op) == "Cast") set(n, "to", int64_t{1});
    m.mutable_graph()->add_output()->set_name("y");
    refuse(op, m, {"'the_node' (" + std::string(op) + ")"});
  }
}

TEST_CASE("attributes of the wrong type, twice or with two values are refused") {
  using A = onnx::AttributeProto;
  refuse_each(
      op_model("Softmax"),
      {
          {"FLOAT for INT",
           [](auto& m) { set(first_node(m), "axis", 1.0f); },
           {"'the_node' (Softmax)", "'axis'", "INT", "FLOAT"}},
          {"STRING for INT", [](auto& m) { set(first_node(m), "axis", "1"); }, {"'the_node'", "'axis'"}},
          {"INTS for INT", [](auto& m) { set(first_node(m), "axis", Numbers{1}); }, {"'the_node'", "'axis'"}},
          {"GRAPH for INT",
           [](auto& m) { attribute(first_node(m), "axis", A::GRAPH).mutable_g(); },
           {"'the_node'", "'axis'"}},
          {"no type",
           [](auto& m) { attribute(first_node(m), "axis", A::UNDEFINED).set_i(1); },
           {"'the_node'", "'axis'"}},
          {"a value in another field",
           [](auto& m) { attribute(first_node(m), "axis", A::INT).set_f(1); },
           {"'the_node'", "'axis'"}},
          {"two values",
           [](auto& m) {
             attribute(first_node(m), "axis", A::INT).set_i(1), first_node(m).mutable_attribute(0)->add_floats(1);
           },
           {"'the_node'", "'axis'"}},
          {"given twice",
           [](auto& m) { set(first_node(m), "axis", int64_t{0}), set(first_node(m), "axis", int64_t{1}); },
           {"'the_node'", "'axis'"}},
          {"a reference outside a function",
           [](auto& m) { attribute(first_node(m), "axis", A::INT).set_ref_attr_name("a"); },
           {"'the_node'", "'axis'"}},
          {"an axis out of range", [](auto& m) { set(first_node(m), "axis", int64_t{2}); }, {"'the_node'", "axis 2"}},
          {"the least axis", [](auto& m) { set(first_node(m), "axis", INT64_MIN); }, {"'the_node'", "axis"}},
          {"the largest axis", [](auto& m) { set(first_node(m), "axis", INT64_MAX); }, {"'the_node'", "axis"}},
      });
  for (const char* name : {"perm", "axes"}) {
    auto m = op_model(name == std::string("perm") ? "Transpose" : "Squeeze", {}, 11);
    set(first_node(m), name, int64_t{0});
    refuse("INT for INTS", m, {"'the_node'", name});
  }
  refuse("INT for FLOAT", with(op_model("LeakyRelu"), [](auto& n) { set(n, "alpha", int64_t{1}); }),
         {"'the_node'", "'alpha'"});
  refuse("INT for STRING", with(op_model("Einsum"), [](auto& n) { set(n, "equation", int64_t{1}); }),
         {"'the_node'", "'equation'"});
  refuse("INT for TENSOR", with(op_model("Constant"), [](auto& n) { n.clear_input(), set(n, "value", int64_t{1}); }),
         {"'the_node'", "'value'"});
  refuse("FLOAT for a Cast's target", with(op_model("Cast"), [](auto& n) { set(n, "to", 1.0f); }),
         {"'the_node'", "'to'"});
}

TEST_CASE("operators with arguments that make no sense are refused by name") {
  struct Call {
    const char* op;
    std::vector<Numbers> constants;
    std::function<void(onnx::NodeProto&)> edit = [](onnx::NodeProto&) {};
    int64_t opset = 18;
  };
  const auto axis = [](int64_t a) { return [=](onnx::NodeProto& n) { set(n, "axis", a); }; };
  const auto ints = [](const char* name, Numbers v) { return [=](onnx::NodeProto& n) { set(n, name, v); }; };
  const auto outputs = [](int count) {
    return [=](onnx::NodeProto& n) {
      for (int k = 1; k < count; ++k) n.add_output("y" + std::to_string(k));
    };
  };
  const std::vector<Call> calls = {
      {"Cast", {}},
      {"Cast", {}, [](auto& n) { set(n, "to", int64_t{8}); }},
      {"Cast", {}, [](auto& n) { set(n, "to", int64_t{999}); }},
      {"Cast", {}, [](auto& n) { set(n, "to", INT64_MIN); }},
      {"Einsum", {}},
      {"Transpose", {}, ints("perm", {0, 0})},
      {"Transpose", {}, ints("perm", {0})},
      {"Transpose", {}, ints("perm", {0, 2})},
      {"Transpose", {}, ints("perm", {-1, 0})},
      {"Transpose", {}, ints("perm", Numbers(1000000, 0))},
      {"Reshape", {{-1, -1}}},
      {"Reshape", {{4, 2}}},
      {"Reshape", {{-2, -3}}},
      {"Reshape", {{2, 3, 0}}},
      {"Reshape", {{0, -1}}, [](auto& n) { set(n, "allowzero", int64_t{1}); }},
      {"Reshape", {{4, -1}}},
      {"Reshape", {{huge, huge}}},
      {"Reshape", {{INT64_MIN}}},
      {"Reshape", {Numbers(100, 1)}},
      {"Reshape", {}},
      {"Reshape", {Numbers(100000, 1)}},
      {"Unsqueeze", {{0, 0}}},
      {"Unsqueeze", {{4}}},
      {"Unsqueeze", {{INT64_MIN}}},
      {"Unsqueeze", {Numbers(100, 0)}},
      {"Squeeze", {{0}}},
      {"Squeeze", {{2}}},
      {"Flatten", {}, axis(3)},
      {"Flatten", {}, axis(INT64_MIN)},
      {"Expand", {{2, 4}}},
      {"Expand", {{huge, 2, 3}}},
      {"Expand", {{huge, huge, 2, 3}}},
      {"Expand", {{-1, 2, 3}}},
      {"Expand", {{1 << 20, 1 << 20, 1 << 20, 2, 3}}},
      {"Tile", {{huge, 1}}},
      {"Tile", {{huge, huge}}},
      {"Tile", {{-1, 1}}},
      {"Tile", {{1}}},
      {"Tile", {{1 << 30, 1 << 30}}},
      {"Slice", {{0}, {1}, {0}, {0}}},
      {"Slice", {{0}, {1}, {5}}},
      {"Slice", {{0, 0}, {1, 1}, {0, 0}}},
      {"Slice", {{0}, {1, 2}}},
      {"Slice", {{0}, {1}, {0}, {INT64_MIN}}},
      {"Slice", {{0, 0, 0}, {1, 1, 1}}},
      {"Slice", {{0}}},
      {"Split", {{1, 2}}, outputs(2)},
      {"Split", {{5, -3}}, outputs(2)},
      {"Split", {{1, 1}}, outputs(1)},
      {"Split", {{2}}, outputs(2)},
      {"Split", {{INT64_MAX, INT64_MAX}}, outputs(2)},
      {"Split", {}, [](auto& n) { set(n, "num_outputs", int64_t{0}); }},
      {"Split", {}, [](auto& n) { set(n, "num_outputs", int64_t{70000}); }},
      {"Split", {}, [](auto& n) { set(n, "num_outputs", INT64_MIN); }},
      {"Split", {{2}}, axis(7)},
      {"Concat", {}, axis(2)},
      {"Concat", {{1}}, axis(0)},
      {"Concat", {}, [](auto& n) { n.clear_input(); }},
      {"Pad", {{-3, 0, 0, 0}}},
      {"Pad", {{-1, 0, -2, 0}}},
      {"Pad", {{INT64_MIN, 0, INT64_MIN, 0}}},
      {"Pad", {{1}}},
      {"Pad", {{huge, huge, huge, huge}}},
      {"Pad", {{0, 0, 0, 0}, {1}}},
      {"Pad", {{2, 1, 1, 1}}, [](auto& n) { set(n, "mode", "reflect"); }},
      {"Pad", {{INT64_MAX, 1, 1, 1}}, [](auto& n) { set(n, "mode", "reflect"); }},
      {"Pad", {{INT64_MAX, 1, 1, 1}}, [](auto& n) { set(n, "mode", "edge"); }},
      {"Pad", {{1, 1, 1, 1}}, [](auto& n) { set(n, "mode", "around"); }},
      {"Pad", {{INT64_MAX, 0, INT64_MAX, 0}}},
      {"Gather", {{2}}},
      {"Gather", {{-3}}},
      {"Gather", {{INT64_MAX}}},
      {"Gather", {{INT64_MIN}}},
      {"Gather", {{0}}, axis(2)},
      {"Gather", {{3}}, axis(1)},
      {"GatherND", {{2}}},
      {"GatherND", {{0, 0, 0}}},
      {"GatherElements", {{0}}},
      {"ReduceSum", {{2}}},
      {"ReduceSum", {{0, 0}}},
      {"ReduceSum", {{INT64_MIN}}},
      {"ReduceMean", {}, ints("axes", Numbers(1000000, 0)), 13},
      {"CumSum", {{2}}},
      {"CumSum", {{0, 1}}},
      {"Softmax", {}, axis(-3)},
      {"ConstantOfShape", {}},
      {"Trilu", {{0}, {0}}},
      {"OneHot", {{2}, {0, 1}}, axis(9)},
      {"MatMul", {{1, 2}}},
      {"Add", {{1, 2, 3}}},
      {"Where", {{1}, {1}}},
      {"Clip", {{0}}},
      {"Gemm", {{1, 2}}},
      {"LayerNormalization", {{1, 2}}},
      {"LayerNormalization", {}},
      {"Dropout", {{1}, {1}}},
      {"Not", {}},
      {"And", {{1}}},
      {"Mod", {{0}}},
  };
  for (const Call& c : calls) {
    auto m = op_model(c.op, c.constants, c.opset);
    c.edit(first_node(m));
    std::string what = c.op;
    for (const auto& k : c.constants)
      what += " " + std::to_string(k.empty() ? 0 : k[0]) + "(" + std::to_string(k.size()) + ")";
    refuse(what, m, {"'the_node' (" + std::string(c.op) + ")"});
  }
}

TEST_CASE(
    "integer arithmetic at compile time neither overflows nor divides by zero, and sizes are refused before they are "
    "made") {
  struct Sum {
    const char* op;
    std::vector<Numbers> constants;
    bool scalars = false;
  };
  auto model = [](const Sum& s) {
    auto m = empty_model();
    Names names;
    for (size_t k = 0; k < s.constants.size(); ++k) {
      names.push_back("c" + std::to_string(k));
      add_integers(m, names.back(), s.constants[k], s.scalars);
    }
    add_node(m, s.op, "the_node", names, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    return m;
  };
  for (const Sum& s : std::vector<Sum>{{"Div", {{7}, {0}}},
                                       {"Mod", {{7}, {0}}},
                                       {"Div", {{7, 7}, {1, 0}}},
                                       {"Range", {{0}, {5}, {0}}, true},
                                       {"Range", {{0}, {huge}, {1}}, true},
                                       {"Range", {{INT64_MIN}, {INT64_MAX}, {1}}, true},
                                       {"Range", {{INT64_MAX}, {INT64_MIN}, {-1}}, true},
                                       {"Range", {{0}, {INT64_MIN}, {-1}}, true},
                                       {"Range", {{0, 1}, {2, 3}, {1, 1}}},
                                       {"ConstantOfShape", {{huge}}},
                                       {"ConstantOfShape", {{huge, huge}}},
                                       {"ConstantOfShape", {{-1}}},
                                       {"ConstantOfShape", {{1 << 30, 1 << 30, 1 << 30}}},
                                       {"ConstantOfShape", {{INT64_MIN}}},
                                       {"OneHot", {{0}, {huge}, {0, 1}}},
                                       {"OneHot", {{0}, {-1}, {0, 1}}},
                                       {"OneHot", {{0}, {1}, {0}}},
                                       {"Gather", {{1, 2}, {2}}},
                                       {"Gather", {{1, 2}, {-3}}},
                                       {"Slice", {{1, 2}, {0}, {1}, {0}, {0}}},
                                       {"Expand", {{1}, {huge}}},
                                       {"Expand", {{1}, {int64_t{1} << 32, int64_t{1} << 32}}},
                                       {"Tile", {{1}, {huge}}}})
    refuse(std::string(s.op), model(s), {"'the_node' (" + std::string(s.op) + ")"});
  for (const Sum& s : std::vector<Sum>{{"Div", {{INT64_MIN}, {-1}}},
                                       {"Mod", {{INT64_MIN}, {-1}}},
                                       {"Add", {{INT64_MAX}, {INT64_MAX}}},
                                       {"Sub", {{INT64_MIN}, {1}}},
                                       {"Mul", {{huge}, {huge}}},
                                       {"Neg", {{INT64_MIN}}},
                                       {"Abs", {{INT64_MIN}}},
                                       {"Pow", {{10}, {100}}},
                                       {"CumSum", {{INT64_MAX, INT64_MAX}, {0}}},
                                       {"ReduceSum", {{INT64_MAX, INT64_MAX}}},
                                       {"ReduceProd", {{huge, huge}}},
                                       {"ReduceMean", {{INT64_MIN, 1}}},
                                       {"Slice", {{1, 2, 3}, {2}, {INT64_MIN}, {0}, {INT64_MIN + 1}}},
                                       {"Slice", {{1, 2, 3}, {INT64_MIN}, {INT64_MAX}}},
                                       {"Slice", {{1, 2, 3}, {0}, {0}}},
                                       {"Range", {{5}, {0}, {1}}, true},
                                       {"Expand", {{1}, {1 << 30}}},
                                       {"Max", {{INT64_MIN}, {INT64_MAX}}}})
    accept(s.op, model(s));
  for (auto [start, limit, step] : {std::tuple{0.f, 1.f, 0.f},
                                    {0.f, 0.f, 0.f},
                                    {0.f, 1e18f, 1.f},
                                    {0.f, NAN, 1.f},
                                    {NAN, 1.f, 1.f},
                                    {0.f, 1.f, NAN},
                                    {0.f, INFINITY, 1.f},
                                    {0.f, 1.f, 1e-30f}}) {
    auto m = empty_model();
    for (auto [name, value] : {std::pair{"a", start}, {"b", limit}, {"c", step}}) add_floats(m, name, {}, value);
    add_node(m, "Range", "the_node", {"a", "b", "c"}, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    refuse("Range of floats", m, {"'the_node' (Range)"});
  }
  // Of a shape whose extents are names: what lies outside is known all the same.
  auto m = empty_model();
  add_input(m, "x", float32, {-1, -1, 3});
  add_integers(m, "at", {5});
  add_node(m, "Shape", "shape", {"x"}, {"s"});
  add_node(m, "Gather", "the_node", {"s", "at"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  refuse("Gather of Shape", m, {"'the_node' (Gather)", "index 5", "3 rows"});
}
