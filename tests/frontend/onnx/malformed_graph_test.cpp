// Graphs that do not hang together, operators used wrongly, types and shapes that contradict each other.
#include <cmath>
#include <tuple>

#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
constexpr int float32 = onnx::TensorProto::FLOAT, int64 = onnx::TensorProto::INT64, text = onnx::TensorProto::STRING;
constexpr int64_t huge = int64_t{1} << 62;

onnx::ModelProto chain(int length, const std::string& op = "Relu") {
  auto m = empty_model();
  add_input(m, "v0", float32, {2});
  for (int k = 0; k < length; ++k) add_node(m, op, "node" + std::to_string(k), {"v" + std::to_string(k)}, {"v" + std::to_string(k + 1)});
  m.mutable_graph()->add_output()->set_name("v" + std::to_string(length));
  return m;
}
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
  CHECK(failure(import_onnx(path)).message == path + ": node '/model/Add' (Add), operand 1 'words': dtype: expected float32 as operand 0 'ids', found string");
}

TEST_CASE("strings reach no arithmetic, whichever operator they are given to") {
  for (const char* op : {"Add", "Mul", "Div", "Relu", "LeakyRelu", "Sqrt", "Softmax", "LogSoftmax", "Gelu", "Swish", "Mean", "Sum", "Max", "ReduceSum", "ReduceMean", "Cast", "Trilu",
                         "MatMul", "Gemm", "Pow", "Neg", "Abs", "Sign", "Not", "Where", "CumSum", "LayerNormalization", "RMSNormalization", "Gather", "OneHot", "Pad", "Clip", "GatherND", "Range"}) {
    auto m = empty_model(24);
    add_input(m, "x", text, {2, 2});
    auto& n = add_node(m, op, "the_node", {"x", "x", "x"}, {"y"});
    if (std::string(op) == "Cast") set(n, "to", int64_t{1});
    m.mutable_graph()->add_output()->set_name("y");
    refuse(op, m, {"'the_node' (" + std::string(op) + ")"});
  }
}

TEST_CASE("graphs that do not hang together are refused") {
  refuse_each(small_model(), {
      {"an operand that nothing makes", [](auto& m) { first_node(m).set_input(1, "nothing"); }, {"'product'", "'nothing'"}},
      {"a self-loop", [](auto& m) { first_node(m).set_input(0, "h"); }, {"cycle of 1 ", "'product'"}},
      {"a cycle of two", [](auto& m) { first_node(m).set_input(0, "y"); }, {"cycle of 2 ", "'product'", "'act'"}},
      {"an output twice", [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"h"}); }, {"'again'", "'h'"}},
      {"an output twice in one node", [](auto& m) { add_node(m, "Dropout", "again", {"x"}, {"z", "z"}); }, {"'again'", "'z'"}},
      {"an output named as an initializer", [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"w"}); }, {"'again'", "'w'"}},
      {"an output named as an input", [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"x"}); }, {"'again'", "'x'"}},
      {"an initializer twice", [](auto& m) { add_floats(m, "w", {3, 4}); }, {"'w'"}},
      {"an input twice", [](auto& m) { add_input(m, "x", float32, {2, 3}); }, {"'x'"}},
      {"a sparse initializer", [](auto& m) { m.mutable_graph()->add_sparse_initializer()->mutable_values()->set_name("w"); }, {"'w'", "sparse"}},
      {"an initializer without a name", [](auto& m) { add_floats(m, "", {1}); }, {"initializer"}},
      {"an input without a name", [](auto& m) { add_input(m, "", float32, {1}); }, {"input"}},
      {"a required operand without a name", [](auto& m) { first_node(m).set_input(1, ""); }, {"'product'", "operand 1"}},
      {"all outputs without a name", [](auto& m) { add_node(m, "Relu", "idle", {"x"}, {""}); }, {"'idle'", "outputs"}},
      {"no outputs", [](auto& m) { add_node(m, "Relu", "idle", {"x"}, {}); }, {"'idle'", "outputs"}},
      {"no inputs and no outputs", [](auto& m) { add_node(m, "Relu", "idle", {}, {}); }, {"'idle'"}},
      {"no inputs", [](auto& m) { add_node(m, "Relu", "idle", {}, {"z"}); }, {"'idle'", "operand 0"}},
      {"too few operands", [](auto& m) { first_node(m).mutable_input()->RemoveLast(); }, {"'product'", "operand 1"}},
      {"too many operands", [](auto& m) { first_node(m).add_input("x"); }, {"'product'", "operand 2"}},
      {"too many outputs", [](auto& m) { first_node(m).add_output("h2"); }, {"'product'", "output 1"}},
      {"a million operands", [](auto& m) { for (int k = 0; k < 1000000; ++k) first_node(m).add_input("x"); }, {"'product'", "operands"}},
      {"no graph outputs", [](auto& m) { m.mutable_graph()->clear_output(); }, {"outputs"}},
      {"a graph output that nothing makes", [](auto& m) { m.mutable_graph()->mutable_output(0)->set_name("nothing"); }, {"'nothing'"}},
      {"a graph output without a name", [](auto& m) { m.mutable_graph()->add_output(); }, {"output ''"}},
      {"a graph output twice", [](auto& m) { m.mutable_graph()->add_output()->set_name("y"); }, {"'y'"}},
      {"an empty operator", [](auto& m) { first_node(m).set_op_type(""); }, {"'product'"}},
      {"an unknown operator", [](auto& m) { first_node(m).set_op_type("MatMull"); }, {"'product' (MatMull)", "18"}},
      {"an operator of a later opset", [](auto& m) { first_node(m).set_op_type("RMSNormalization"); }, {"'product' (RMSNormalization)", "18"}},
      {"a Loop of 2^63 - 1 turns", [](auto& m) {
         add_integers(m, "trips", {INT64_MAX}, true);
         attribute(add_node(m, "Loop", "loop", {"trips", ""}, {"z"}), "body", onnx::AttributeProto::GRAPH).mutable_g()->set_name("body");
       }, {"'loop' (Loop)"}},
  });
  auto m = chain(10000);
  first_node(m).set_input(0, "v10000");
  refuse("a cycle of 10,000", m, {"cycle of 10000 ", "'node0'"});
  m = small_model();
  for (int k = 0; k < 1000; ++k) add_node(m, "Strange", "s" + std::to_string(k), {"x"}, {"s" + std::to_string(k)});
  refuse("1,000 unknown operators", m, {"1000 unknown operators", "'s0'", "980 more"});
  m = small_model();
  onnx::GraphProto half = m.graph();
  for (int k = 0; k < 12; ++k) {  // each level holds the one before it twice
    onnx::GraphProto twice = small_model().graph();
    for (const char* branch : {"then_branch", "else_branch"}) {
      auto& n = *twice.add_node();
      n.set_op_type("If");
      n.set_name(branch);
      n.add_output(branch);
      *attribute(n, branch, onnx::AttributeProto::GRAPH).mutable_g() = half;
    }
    half = twice;
  }
  *m.mutable_graph() = half;
  refuse("subgraphs that double at each level", m, {"'then_branch' (If)"});
}

TEST_CASE("graphs that are merely unusual are accepted") {
  auto m = small_model();
  m.mutable_graph()->mutable_node()->SwapElements(0, 1);
  auto graph = accept("unsorted but acyclic", m);
  REQUIRE(graph);
  CHECK(graph->nodes.front()->name == "product");
  CHECK(graph->remarks.size() == 1);
  m = small_model();
  m.mutable_graph()->add_output()->set_name("x");
  m.mutable_graph()->add_output()->set_name("w");
  accept("an input and an initializer as outputs", m);
  m = small_model();
  m.mutable_graph()->clear_node();
  m.mutable_graph()->mutable_output(0)->set_name("w");
  m.mutable_graph()->mutable_output(0)->clear_type();
  accept("no nodes", m);
  m = small_model();
  add_input(m, "w", float32, {3, 4});
  accept("an initializer that is an input too, as before IR 4", m);
  m = small_model();
  m.mutable_graph()->mutable_node(0)->clear_name();
  accept("a node without a name", m);
  m = op_model("Dropout");
  first_node(m).add_output("");
  accept("a trailing output without a name", m);
  graph = accept("a chain of 100,000 nodes", chain(100000), 2);
  REQUIRE(graph);
  CHECK(graph->size() == 100000);
  m = empty_model();
  add_input(m, "x", float32, {2});
  for (int k = 0; k < 50000; ++k) {
    add_node(m, "Relu", "", {"x"}, {"y" + std::to_string(k)});
    m.mutable_graph()->add_output()->set_name("y" + std::to_string(k));
  }
  accept("50,000 users of one value", m, 2);
}

TEST_CASE("attributes of the wrong type, twice or with two values are refused") {
  using A = onnx::AttributeProto;
  refuse_each(op_model("Softmax"), {
      {"FLOAT for INT", [](auto& m) { set(first_node(m), "axis", 1.0f); }, {"'the_node' (Softmax)", "'axis'", "INT", "FLOAT"}},
      {"STRING for INT", [](auto& m) { set(first_node(m), "axis", "1"); }, {"'the_node'", "'axis'"}},
      {"INTS for INT", [](auto& m) { set(first_node(m), "axis", Numbers{1}); }, {"'the_node'", "'axis'"}},
      {"GRAPH for INT", [](auto& m) { attribute(first_node(m), "axis", A::GRAPH).mutable_g(); }, {"'the_node'", "'axis'"}},
      {"no type", [](auto& m) { attribute(first_node(m), "axis", A::UNDEFINED).set_i(1); }, {"'the_node'", "'axis'"}},
      {"a value in another field", [](auto& m) { attribute(first_node(m), "axis", A::INT).set_f(1); }, {"'the_node'", "'axis'"}},
      {"two values", [](auto& m) { attribute(first_node(m), "axis", A::INT).set_i(1), first_node(m).mutable_attribute(0)->add_floats(1); }, {"'the_node'", "'axis'"}},
      {"given twice", [](auto& m) { set(first_node(m), "axis", int64_t{0}), set(first_node(m), "axis", int64_t{1}); }, {"'the_node'", "'axis'"}},
      {"a reference outside a function", [](auto& m) { attribute(first_node(m), "axis", A::INT).set_ref_attr_name("a"); }, {"'the_node'", "'axis'"}},
      {"an axis out of range", [](auto& m) { set(first_node(m), "axis", int64_t{2}); }, {"'the_node'", "axis 2"}},
      {"the least axis", [](auto& m) { set(first_node(m), "axis", INT64_MIN); }, {"'the_node'", "axis"}},
      {"the largest axis", [](auto& m) { set(first_node(m), "axis", INT64_MAX); }, {"'the_node'", "axis"}},
  });
  for (const char* name : {"perm", "axes"}) {
    auto m = op_model(name == std::string("perm") ? "Transpose" : "Squeeze", {}, 11);
    set(first_node(m), name, int64_t{0});
    refuse("INT for INTS", m, {"'the_node'", name});
  }
  refuse("INT for FLOAT", with(op_model("LeakyRelu"), [](auto& n) { set(n, "alpha", int64_t{1}); }), {"'the_node'", "'alpha'"});
  refuse("INT for STRING", with(op_model("Einsum"), [](auto& n) { set(n, "equation", int64_t{1}); }), {"'the_node'", "'equation'"});
  refuse("INT for TENSOR", with(op_model("Constant"), [](auto& n) { n.clear_input(), set(n, "value", int64_t{1}); }), {"'the_node'", "'value'"});
  refuse("FLOAT for a Cast's target", with(op_model("Cast"), [](auto& n) { set(n, "to", 1.0f); }), {"'the_node'", "'to'"});
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
  const auto outputs = [](int count) { return [=](onnx::NodeProto& n) { for (int k = 1; k < count; ++k) n.add_output("y" + std::to_string(k)); }; };
  const std::vector<Call> calls = {
      {"Cast", {}}, {"Cast", {}, [](auto& n) { set(n, "to", int64_t{8}); }}, {"Cast", {}, [](auto& n) { set(n, "to", int64_t{999}); }}, {"Cast", {}, [](auto& n) { set(n, "to", INT64_MIN); }},
      {"Einsum", {}}, {"Transpose", {}, ints("perm", {0, 0})}, {"Transpose", {}, ints("perm", {0})}, {"Transpose", {}, ints("perm", {0, 2})}, {"Transpose", {}, ints("perm", {-1, 0})}, {"Transpose", {}, ints("perm", Numbers(1000000, 0))},
      {"Reshape", {{-1, -1}}}, {"Reshape", {{4, 2}}}, {"Reshape", {{-2, -3}}}, {"Reshape", {{2, 3, 0}}}, {"Reshape", {{0, -1}}, [](auto& n) { set(n, "allowzero", int64_t{1}); }}, {"Reshape", {{4, -1}}},
      {"Reshape", {{huge, huge}}}, {"Reshape", {{INT64_MIN}}}, {"Reshape", {Numbers(100, 1)}}, {"Reshape", {}}, {"Reshape", {Numbers(100000, 1)}},
      {"Unsqueeze", {{0, 0}}}, {"Unsqueeze", {{4}}}, {"Unsqueeze", {{INT64_MIN}}}, {"Unsqueeze", {Numbers(100, 0)}}, {"Squeeze", {{0}}}, {"Squeeze", {{2}}}, {"Flatten", {}, axis(3)}, {"Flatten", {}, axis(INT64_MIN)},
      {"Expand", {{2, 4}}}, {"Expand", {{huge, 2, 3}}}, {"Expand", {{huge, huge, 2, 3}}}, {"Expand", {{-1, 2, 3}}}, {"Expand", {{1 << 20, 1 << 20, 1 << 20, 2, 3}}},
      {"Tile", {{huge, 1}}}, {"Tile", {{huge, huge}}}, {"Tile", {{-1, 1}}}, {"Tile", {{1}}}, {"Tile", {{1 << 30, 1 << 30}}},
      {"Slice", {{0}, {1}, {0}, {0}}}, {"Slice", {{0}, {1}, {5}}}, {"Slice", {{0, 0}, {1, 1}, {0, 0}}}, {"Slice", {{0}, {1, 2}}}, {"Slice", {{0}, {1}, {0}, {INT64_MIN}}}, {"Slice", {{0, 0, 0}, {1, 1, 1}}}, {"Slice", {{0}}},
      {"Split", {{1, 2}}, outputs(2)}, {"Split", {{5, -3}}, outputs(2)}, {"Split", {{1, 1}}, outputs(1)}, {"Split", {{2}}, outputs(2)}, {"Split", {{INT64_MAX, INT64_MAX}}, outputs(2)}, {"Split", {}, [](auto& n) { set(n, "num_outputs", int64_t{0}); }},
      {"Split", {}, [](auto& n) { set(n, "num_outputs", int64_t{70000}); }}, {"Split", {}, [](auto& n) { set(n, "num_outputs", INT64_MIN); }}, {"Split", {{2}}, axis(7)},
      {"Concat", {}, axis(2)}, {"Concat", {{1}}, axis(0)}, {"Concat", {}, [](auto& n) { n.clear_input(); }},
      {"Pad", {{-1, 0, 0, 0}}}, {"Pad", {{1}}}, {"Pad", {{huge, huge, huge, huge}}}, {"Pad", {{0, 0, 0, 0}, {1}}}, {"Pad", {{1, 1, 1, 1}}, [](auto& n) { set(n, "mode", "reflect"); }}, {"Pad", {{INT64_MAX, 0, INT64_MAX, 0}}},
      {"Gather", {{2}}}, {"Gather", {{-3}}}, {"Gather", {{INT64_MAX}}}, {"Gather", {{INT64_MIN}}}, {"Gather", {{0}}, axis(2)}, {"Gather", {{3}}, axis(1)}, {"GatherND", {{2}}}, {"GatherND", {{0, 0, 0}}},
      {"ReduceSum", {{2}}}, {"ReduceSum", {{0, 0}}}, {"ReduceSum", {{INT64_MIN}}}, {"ReduceMean", {}, ints("axes", Numbers(1000000, 0)), 13}, {"CumSum", {{2}}}, {"CumSum", {{0, 1}}}, {"Softmax", {}, axis(-3)},
      {"ConstantOfShape", {}}, {"Trilu", {{0}, {0}}}, {"OneHot", {{2}, {0, 1}}, axis(9)}, {"MatMul", {{1, 2}}}, {"Add", {{1, 2, 3}}}, {"Where", {{1}, {1}}}, {"Clip", {{0}}}, {"Gemm", {{1, 2}}},
      {"LayerNormalization", {{1, 2}}}, {"LayerNormalization", {}}, {"Dropout", {{1}, {1}}}, {"Not", {}}, {"And", {{1}}}, {"Mod", {{0}}},
  };
  for (const Call& c : calls) {
    auto m = op_model(c.op, c.constants, c.opset);
    c.edit(first_node(m));
    std::string what = c.op;
    for (const auto& k : c.constants) what += " " + std::to_string(k.empty() ? 0 : k[0]) + "(" + std::to_string(k.size()) + ")";
    refuse(what, m, {"'the_node' (" + std::string(c.op) + ")"});
  }
}

TEST_CASE("integer arithmetic at compile time neither overflows nor divides by zero, and sizes are refused before they are made") {
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
  for (const Sum& s : std::vector<Sum>{{"Div", {{7}, {0}}}, {"Mod", {{7}, {0}}}, {"Div", {{7, 7}, {1, 0}}}, {"Range", {{0}, {5}, {0}}, true}, {"Range", {{0}, {huge}, {1}}, true}, {"Range", {{INT64_MIN}, {INT64_MAX}, {1}}, true},
                                       {"Range", {{INT64_MAX}, {INT64_MIN}, {-1}}, true}, {"Range", {{0}, {INT64_MIN}, {-1}}, true}, {"Range", {{0, 1}, {2, 3}, {1, 1}}}, {"ConstantOfShape", {{huge}}}, {"ConstantOfShape", {{huge, huge}}},
                                       {"ConstantOfShape", {{-1}}}, {"ConstantOfShape", {{1 << 30, 1 << 30, 1 << 30}}}, {"ConstantOfShape", {{INT64_MIN}}}, {"OneHot", {{0}, {huge}, {0, 1}}}, {"OneHot", {{0}, {-1}, {0, 1}}}, {"OneHot", {{0}, {1}, {0}}},
                                       {"Gather", {{1, 2}, {2}}}, {"Gather", {{1, 2}, {-3}}}, {"Slice", {{1, 2}, {0}, {1}, {0}, {0}}}, {"Expand", {{1}, {huge}}}, {"Expand", {{1}, {int64_t{1} << 32, int64_t{1} << 32}}}, {"Tile", {{1}, {huge}}}})
    refuse(std::string(s.op), model(s), {"'the_node' (" + std::string(s.op) + ")"});
  for (const Sum& s : std::vector<Sum>{{"Div", {{INT64_MIN}, {-1}}}, {"Mod", {{INT64_MIN}, {-1}}}, {"Add", {{INT64_MAX}, {INT64_MAX}}}, {"Sub", {{INT64_MIN}, {1}}}, {"Mul", {{huge}, {huge}}}, {"Neg", {{INT64_MIN}}}, {"Abs", {{INT64_MIN}}},
                                       {"Pow", {{10}, {100}}}, {"CumSum", {{INT64_MAX, INT64_MAX}, {0}}}, {"ReduceSum", {{INT64_MAX, INT64_MAX}}}, {"ReduceProd", {{huge, huge}}}, {"ReduceMean", {{INT64_MIN, 1}}},
                                       {"Slice", {{1, 2, 3}, {2}, {INT64_MIN}, {0}, {INT64_MIN + 1}}}, {"Slice", {{1, 2, 3}, {INT64_MIN}, {INT64_MAX}}}, {"Slice", {{1, 2, 3}, {0}, {0}}}, {"Range", {{5}, {0}, {1}}, true}, {"Expand", {{1}, {1 << 30}}}, {"Max", {{INT64_MIN}, {INT64_MAX}}}})
    accept(s.op, model(s));
  for (auto [start, limit, step] : {std::tuple{0.f, 1.f, 0.f}, {0.f, 0.f, 0.f}, {0.f, 1e18f, 1.f}, {0.f, NAN, 1.f}, {NAN, 1.f, 1.f}, {0.f, 1.f, NAN}, {0.f, INFINITY, 1.f}, {0.f, 1.f, 1e-30f}}) {
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

TEST_CASE("types and shapes that are missing, impossible or contradict each other are refused") {
  auto input = [](auto& m) -> onnx::ValueInfoProto& { return *m.mutable_graph()->mutable_input(0); };
  auto dims = [=](Numbers d) { return [=](onnx::ModelProto& m) { describe(input(m), "x", float32, d); }; };
  std::vector<BadCase> cases = {
      {"no type", [=](auto& m) { input(m).clear_type(); }, {"input 'x'"}},
      {"a sequence", [=](auto& m) { input(m).mutable_type()->mutable_sequence_type(); }, {"input 'x'"}},
      {"no shape", [=](auto& m) { input(m).mutable_type()->mutable_tensor_type()->clear_shape(); }, {"input 'x'"}},
      {"value_info of another dtype", [](auto& m) { describe(*m.mutable_graph()->add_value_info(), "h", int64, {2, 4}); }, {"value_info 'h'", "float32"}},
      {"value_info of another shape", [](auto& m) { describe(*m.mutable_graph()->add_value_info(), "h", float32, {2, 5}); }, {"value_info 'h'", "[2, 4]", "[2, 5]"}},
      {"value_info with other dims", [](auto& m) { describe(*m.mutable_graph()->add_value_info(), "h", float32, {2, 4, 1}); }, {"value_info 'h'"}},
      {"value_info that contradicts an initializer", [](auto& m) { describe(*m.mutable_graph()->add_value_info(), "w", float32, {4, 3}); }, {"value_info 'w'"}},
      {"value_info twice", [](auto& m) { for (int k = 0; k < 2; ++k) describe(*m.mutable_graph()->add_value_info(), "h", float32, {2, 4}); }, {"value_info 'h'"}},
      {"an input that contradicts its initializer", [](auto& m) { add_input(m, "w", float32, {3, 5}); }, {"input 'w'"}},
      {"an output of another dtype", [](auto& m) { describe(*m.mutable_graph()->mutable_output(0), "y", int64, {2, 4}); }, {"output 'y'"}},
      {"an output of another shape", [](auto& m) { describe(*m.mutable_graph()->mutable_output(0), "y", float32, {2, 3}); }, {"output 'y'"}},
      {"an output that is a sequence", [](auto& m) { m.mutable_graph()->mutable_output(0)->mutable_type()->mutable_sequence_type(); }, {"output 'y'"}},
      {"a negative extent", dims({-5, 3}), {"input 'x'", "-5"}}, {"an extent of 2^62", dims({huge, 3}), {"input 'x'"}},
      {"a product beyond 64 bits", dims({int64_t{1} << 32, int64_t{1} << 32}), {"input 'x'"}}, {"2^63 bytes", dims({int64_t{1} << 31, int64_t{1} << 30}), {"input 'x'"}},
      {"an empty product beyond 64 bits", dims({0, int64_t{1} << 40, int64_t{1} << 40}), {"input 'x'"}},
      {"65 dims", dims(Numbers(65, 1)), {"input 'x'"}}, {"a million dims", dims(Numbers(1000000, 1)), {"input 'x'"}}, {"dims that do not multiply", dims({2, 4}), {"'product' (MatMul)"}},
      {"one dim with two sizes", [=](auto& m) {
         describe(input(m), "x", float32, {-1, 3});
         add_floats(m, "two", {2, 3}), add_floats(m, "five", {5, 3});
         add_node(m, "Add", "add2", {"x", "two"}, {"a"}), add_node(m, "Add", "add5", {"a", "five"}, {"b"});
       }, {"(Add)", "differ"}},
  };
  for (int dtype : {0, 14, 15, 17, 23, 24, 255, 256, 257, 999, -1, INT32_MAX, INT32_MIN})
    cases.push_back({"dtype " + std::to_string(dtype), [=](auto& m) { input(m).mutable_type()->mutable_tensor_type()->set_elem_type(dtype); }, {"input 'x'", std::to_string(dtype)}});
  refuse_each(small_model(), cases);
  accept("an output without a type", [] { auto m = small_model(); m.mutable_graph()->mutable_output(0)->clear_type(); return m; }());
  accept("value_info of what is not there", [] { auto m = small_model(); describe(*m.mutable_graph()->add_value_info(), "gone", int64, {1}); return m; }());
}

TEST_CASE("a dim's name may be any text, and stays a name unless it is an expression") {
  std::string deep(1000, '('), sum = "a", product = "a";
  for (int k = 0; k < 20000; ++k) sum += "+a" + std::to_string(k);
  for (int k = 0; k < 40; ++k) product += "*(a" + std::to_string(k) + "+b)";
  for (const std::string& name : {std::string(), std::string("12"), std::string("-1"), std::string("a/0"), std::string("a//0"), std::string("0/a"), std::string("9999999999999999999999"), std::string("9223372036854775807*n"), deep + "n" + std::string(1000, ')'),
                                  std::string(1000, '-') + "n", sum, product, std::string(1 << 20, 'n'), std::string(1 << 20, '\n'), std::string("part(768, tensor)"), std::string("start(n, tensor)"), std::string("floor(n, 0)"), std::string("min(n, 2)"), std::string("max(n, 0"),
                                  std::string("a\0b", 3), std::string("\x1b[2J"), std::string("\xff"), std::string("batch size"), std::string("past + sequence"), std::string("t:n"), std::string("?"), std::string("None")}) {
    auto m = empty_model();
    add_input(m, "x", float32, {-1, 3}).mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_param(name);
    add_floats(m, "w", {3, 4});
    add_node(m, "MatMul", "product", {"x", "w"}, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("dim_param " + name.substr(0, 20), m);
    REQUIRE(graph);
    CHECK(!has_rank_terms(graph->inputs[0]->type.dims[0]));
    CHECK(!graph->inputs[0]->type.dims[0].constant());
  }
}
