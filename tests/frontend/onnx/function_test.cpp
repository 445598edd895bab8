// Model-local functions: a call becomes the function's nodes, with names, attributes and opsets as the standard says.
#include "frontend/ir/op.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
using A = onnx::AttributeProto;

struct FunctionWriter {
  onnx::FunctionProto proto;
  FunctionWriter(const std::string& domain, const std::string& name, const Names& inputs, const Names& outputs,
                 int64_t opset = 18) {
    proto.set_domain(domain);
    proto.set_name(name);
    for (const auto& i : inputs) proto.add_input(i);
    for (const auto& o : outputs) proto.add_output(o);
    import("", opset);
  }
  void import(const std::string& domain, int64_t version) {
    auto& set = *proto.add_opset_import();
    set.set_domain(domain);
    set.set_version(version);
  }
  onnx::NodeProto& node(const std::string& op, const Names& inputs, const Names& outputs,
                        const std::string& domain = "") {
    auto& n = *proto.add_node();
    n.set_op_type(op);
    n.set_domain(domain);
    for (const auto& i : inputs) n.add_input(i);
    for (const auto& o : outputs) n.add_output(o);
    return n;
  }
  // attribute_proto came with IR 9: field 11, which older schemas keep as bytes.
  void attribute_default(const onnx::AttributeProto& a) {
    std::string bytes = a.SerializeAsString(), message = proto.SerializeAsString();
    message += char(11 << 3 | 2);
    message += char(bytes.size());
    REQUIRE(bytes.size() < 128);
    REQUIRE(proto.ParseFromString(message + bytes));
  }
};
void add(onnx::ModelProto& m, const FunctionWriter& f) { *m.add_functions() = f.proto; }
onnx::NodeProto& call(onnx::ModelProto& m, const std::string& function, const std::string& name, const Names& inputs,
                      const Names& outputs, const std::string& domain = "local") {
  auto& n = add_node(m, function, name, inputs, outputs);
  n.set_domain(domain);
  return n;
}
onnx::ModelProto model_with(const Names& outputs, int64_t opset = 18) {
  auto m = empty_model(opset);
  auto& set = *m.add_opset_import();
  set.set_domain("local");
  set.set_version(1);
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  for (const auto& o : outputs) m.mutable_graph()->add_output()->set_name(o);
  return m;
}
// "exp(x) -> a; neg(a) -> y"
std::string steps(const Graph& graph) {
  std::string out;
  for (const auto& node : graph.nodes) {
    out += (out.empty() ? "" : "; ") + node->op->name + "(";
    for (size_t k = 0; k < node->operands.size(); ++k) out += (k ? ", " : "") + node->operand(k).name;
    out += ") -> " + node->out().name;
  }
  return out;
}
}  // namespace

TEST_CASE("a call becomes the function's nodes; inner names begin with the call's, results take the outer ones") {
  FunctionWriter f("local", "f", {"a"}, {"b"});
  f.node("Exp", {"a"}, {"t"});
  f.node("Neg", {"t"}, {"b"});
  auto m = model_with({"y", "z"});
  add(m, f);
  call(m, "f", "one", {"x"}, {"y"});
  call(m, "f", "", {"y"}, {"z"});  // named after its first result
  auto graph = accept("two calls", m);
  REQUIRE(graph);
  CHECK(steps(*graph) == "exp(x) -> one/t; neg(one/t) -> y; exp(y) -> z/t; neg(z/t) -> z");
  CHECK(graph->nodes.front()->name == "one/t");
  CHECK(texts(graph->remarks) == Names{"2 calls of functions of the model expanded in place: 'f'"});
  CHECK(!verify(*graph));
}

TEST_CASE("names of calls, functions and the graph may clash: every value keeps its own") {
  FunctionWriter f("local", "f", {"x"}, {"y"});
  f.node("Exp", {"x"}, {"h"});
  f.node("Neg", {"h"}, {"y"});
  auto m = model_with({"y", "h", "c/h"});
  add(m, f);
  call(m, "f", "c", {"x"}, {"y"});
  call(m, "f", "c", {"y"}, {"h"});
  add_node(m, "Relu", "c", {"h"}, {"c/h"});
  auto graph = accept("clashing names", m);
  REQUIRE(graph);
  CHECK(graph->size() == 5);
  CHECK(!verify(*graph));
  for (size_t k : {0u, 1u}) CHECK(graph->outputs[k].value->producer->op->name == "neg");
  CHECK(graph->outputs[2].value->producer->op->name == "relu");
  CHECK(graph->outputs[2].value->producer->operand(0).name == "h");
}

TEST_CASE("functions call functions, and nodes may stand in any order") {
  FunctionWriter inner("local", "inner", {"a"}, {"b"}), outer("local", "outer", {"a"}, {"b"});
  inner.node("Neg", {"t"}, {"b"});
  inner.node("Exp", {"a"}, {"t"});
  outer.import("local", 1);
  outer.node("inner", {"t"}, {"b"}, "local").set_name("second");
  outer.node("inner", {"a"}, {"t"}, "local").set_name("first");
  auto m = model_with({"y"});
  add(m, outer), add(m, inner);
  call(m, "outer", "o", {"x"}, {"y"});
  auto graph = accept("nested calls", m);
  REQUIRE(graph);
  CHECK(steps(*graph) == "exp(x) -> o/first/t; neg(o/first/t) -> o/t; exp(o/t) -> o/second/t; neg(o/second/t) -> y");
}

TEST_CASE("attributes: given by the call, by default, or left to the operator; through two functions") {
  FunctionWriter f("local", "f", {"a"}, {"b"});
  auto& softmax = f.node("Softmax", {"a"}, {"b"});
  attribute(softmax, "axis", A::INT).set_ref_attr_name("along");
  FunctionWriter g("local", "g", {"a"}, {"b"});
  g.import("local", 1);
  auto& inner = g.node("f", {"a"}, {"b"}, "local");
  attribute(inner, "along", A::INT).set_ref_attr_name("outer_axis");
  auto axis_of = [](const onnx::ModelProto& m) {
    auto graph = accept("attributes", m);
    REQUIRE(graph);
    REQUIRE(graph->size() == 1);
    return graph->nodes.front()->integer("axis");
  };
  for (const char* function : {"f", "g"}) {
    CAPTURE(function);
    auto m = model_with({"y"});
    add(m, f), add(m, g);
    auto& n = call(m, function, "c", {"x"}, {"y"});
    CHECK(axis_of(m) == 1);  // Softmax's own default, the last
    set(n, function == std::string("f") ? "along" : "outer_axis", int64_t{0});
    CHECK(axis_of(m) == 0);
  }
  A zero;
  zero.set_name("along");
  zero.set_type(A::INT);
  zero.set_i(0);
  f.attribute_default(zero);
  auto m = model_with({"y"});
  add(m, f);
  auto& n = call(m, "f", "c", {"x"}, {"y"});
  CHECK(axis_of(m) == 0);
  set(n, "along", int64_t{1});
  CHECK(axis_of(m) == 1);
}

TEST_CASE("a tensor attribute lives as long as the graph") {
  FunctionWriter f("local", "f", {"a"}, {"b"});
  attribute(f.node("Constant", {}, {"c"}), "value", A::TENSOR).set_ref_attr_name("weights");
  f.node("Add", {"a", "c"}, {"b"});
  auto m = model_with({"y"});
  add(m, f);
  auto& t = *attribute(call(m, "f", "c", {"x"}, {"y"}), "weights", A::TENSOR).mutable_t();
  t.set_data_type(onnx::TensorProto::FLOAT);
  t.add_dims(3);
  const float values[] = {1, 2, 3};
  t.set_raw_data(values, sizeof values);
  auto graph = accept("a tensor attribute", m);
  REQUIRE(graph);
  REQUIRE(graph->data().size() == 1);
  CHECK(graph->data()[0]->name == "c/c");
  CHECK(to_array(*graph->data()[0]->data).f == std::vector<double>{1, 2, 3});
}

TEST_CASE("operands and results that a call leaves out are absent within") {
  FunctionWriter f("local", "f", {"a", "lo", "hi"}, {"b", "c"});
  f.node("Clip", {"a", "lo", "hi"}, {"b"});
  f.node("Exp", {"a"}, {"c"});
  auto m = model_with({"y"});
  add(m, f);
  add_floats(m, "zero", {});
  m.mutable_graph()->mutable_initializer(0)->clear_dims();
  call(m, "f", "c", {"x", "", "zero"}, {"y"});
  auto graph = accept("an absent operand in the middle", m);
  REQUIRE(graph);
  CHECK(steps(*graph) == "min(x, zero) -> y");
  m = model_with({"y"});
  add(m, f);
  call(m, "f", "c", {"x"}, {"", "y"});
  graph = accept("operands left out at the end, and the first result", m);
  REQUIRE(graph);
  CHECK(steps(*graph) == "exp(x) -> y");
}

TEST_CASE("a function's operators have the opset that it imports, not the model's") {
  // Softmax before opset 13 flattens what follows its axis: of [2, 3] along axis 0 that is all six elements.
  for (int64_t opset : {11, 18}) {
    FunctionWriter f("local", "f", {"a"}, {"b"}, opset);
    set(f.node("Softmax", {"a"}, {"b"}), "axis", int64_t{0});
    auto m = model_with({"y"});
    add(m, f);
    call(m, "f", "c", {"x"}, {"y"});
    auto graph = accept("opset of a function", m);
    REQUIRE(graph);
    CHECK(graph->size() == (opset == 11 ? 3 : 1));
  }
}

TEST_CASE("a function hides an operator of its name, in the long form of the domain too") {
  for (const char* domain : {"", "ai.onnx"}) {
    FunctionWriter f(domain, "Relu", {"a"}, {"b"});
    f.node("Neg", {"a"}, {"b"});
    auto m = model_with({"y"});
    add(m, f);
    add_node(m, "Relu", "r", {"x"}, {"y"});
    auto graph = accept("a function in place of Relu", m);
    REQUIRE(graph);
    CHECK(steps(*graph) == "neg(x) -> y");
  }
}

TEST_CASE("overloads of one function are told apart") {
  // overload came with IR 10: field 13 of a function, 8 of a node.
  auto overloaded = [](auto message, int field, const std::string& overload) {
    std::string bytes = message.SerializeAsString();
    bytes += char(field << 3 | 2);
    bytes += char(overload.size());
    REQUIRE(message.ParseFromString(bytes + overload));
    return message;
  };
  auto m = model_with({"y", "z"});
  for (const char* op : {"Exp", "Neg"}) {
    FunctionWriter f("local", "f", {"a"}, {"b"});
    f.node(op, {"a"}, {"b"});
    *m.add_functions() = overloaded(f.proto, 13, op);
  }
  for (auto [op, result] : {std::pair{"Neg", "y"}, {"Exp", "z"}}) {
    auto& n = call(m, "f", op, {"x"}, {result});
    n = overloaded(onnx::NodeProto(n), 8, op);
  }
  auto graph = accept("overloads", m);
  REQUIRE(graph);
  CHECK(steps(*graph) == "neg(x) -> y; exp(x) -> z");
}

TEST_CASE("faults within a function name the call and the node") {
  FunctionWriter f("local", "f", {"a"}, {"b"});
  f.node("Strange", {"a"}, {"b"}).set_name("inside");
  auto m = model_with({"y"});
  add(m, f);
  call(m, "f", "c", {"x"}, {"y"});
  refuse("an unknown operator", m, {"'inside' (Strange)", "function 'f' of domain 'local'"});
  f.proto.clear_node();
  f.node("MatMul", {"a", "a"}, {"b"}).set_name("inside");
  m = model_with({"y"});
  add(m, f);
  call(m, "f", "c", {"x"}, {"y"});
  refuse("shapes that do not fit", m, {"node 'c' (f)", "inside"});
  refuse_each(m, {
                     {"too many operands", [](auto& m) { first_node(m).add_input("x"); }, {"'c' (f)", "operands"}},
                     {"too many results", [](auto& m) { first_node(m).add_output("z"); }, {"'c' (f)", "outputs"}},
                     {"a name from outside",
                      [](auto& m) { m.mutable_functions(0)->mutable_node(0)->set_input(0, "x"); },
                      {"'c' (f)", "'x'"}},
                     {"an operand that is left out but needed",
                      [](auto& m) { first_node(m).clear_input(); },
                      {"'c' (f)", "operand 0"}},
                 });
}
