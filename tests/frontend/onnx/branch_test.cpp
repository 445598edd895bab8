// If: where constants and shapes decide, the branch is taken; else the refusal names node and condition.
#include "frontend/ir/op.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
using A = onnx::AttributeProto;
onnx::NodeProto& add_to(onnx::GraphProto& g, const std::string& op, const std::string& name, const Names& inputs,
                        const Names& outputs) {
  auto& n = *g.add_node();
  n.set_op_type(op);
  n.set_name(name);
  for (const auto& i : inputs) n.add_input(i);
  for (const auto& o : outputs) n.add_output(o);
  return n;
}
// if_node(condition): exp(x) or neg(x), into y
void add_if(onnx::GraphProto& g, const std::string& condition, const std::string& name = "choose",
            const std::string& result = "y") {
  auto& n = add_to(g, "If", name, {condition}, {result});
  for (auto [branch, op] : {std::pair{"then_branch", "Exp"}, {"else_branch", "Neg"}}) {
    auto& sub = *attribute(n, branch, A::GRAPH).mutable_g();
    add_to(sub, op, op, {"x"}, {"r"});
    sub.add_output()->set_name("r");
  }
}
void add_truth(onnx::ModelProto& m, const std::string& name, bool value) {
  auto& t = *m.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::BOOL);
  t.add_int32_data(value);
}
onnx::ModelProto model() {
  auto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {-1, 3});
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}
std::string only_op(const onnx::ModelProto& m) {
  auto graph = accept("an If", m);
  if (!graph) return "";
  CHECK(graph->size() == 1);
  CHECK(graph->nodes.front()->out().name == "y");
  CHECK(!verify(*graph));
  return graph->nodes.front()->op->name;
}
}  // namespace

TEST_CASE("a constant condition takes its branch, which uses values from outside") {
  for (bool truth : {false, true}) {
    auto m = model();
    add_truth(m, "c", truth);
    add_if(*m.mutable_graph(), "c");
    CHECK(only_op(m) == (truth ? "exp" : "neg"));
    auto graph = accept("a constant condition", m);
    REQUIRE(graph);
    CHECK(texts(graph->remarks) ==
          Names{"1 If with a known condition: only the branch that is taken is read: 'choose'"});
  }
}

TEST_CASE("a condition on shapes is known: an extent, the number of dims") {
  for (int64_t extent : {1, 3}) {  // as squeeze is exported: is x's dim 1 an extent of 1?
    auto m = model();
    add_node(m, "Shape", "shape", {"x"}, {"s"});
    add_integers(m, "one", {1}, true), add_integers(m, "wanted", {extent}, true);
    add_node(m, "Gather", "extent", {"s", "one"}, {"e"});
    add_node(m, "Equal", "is", {"e", "wanted"}, {"c"});
    add_if(*m.mutable_graph(), "c");
    CHECK(only_op(m) == (extent == 3 ? "exp" : "neg"));
  }
  for (int64_t ndim : {2, 4}) {
    auto m = model();
    add_node(m, "Shape", "shape", {"x"}, {"s"});
    add_node(m, "Size", "rank", {"s"}, {"n"});
    add_integers(m, "wanted", {ndim}, true);
    add_node(m, "Equal", "is", {"n", "wanted"}, {"c"});
    add_if(*m.mutable_graph(), "c");
    CHECK(only_op(m) == (ndim == 2 ? "exp" : "neg"));
  }
  auto m = model();  // a named extent is at least 1
  add_node(m, "Shape", "shape", {"x"}, {"s"});
  add_integers(m, "zero", {0}, true);
  add_node(m, "Gather", "extent", {"s", "zero"}, {"e"});
  add_node(m, "Greater", "is", {"e", "zero"}, {"c"});
  add_if(*m.mutable_graph(), "c");
  CHECK(only_op(m) == "exp");
}

TEST_CASE("branches within branches, with values of each level, initializers and names that clash") {
  auto m = model();
  add_truth(m, "c", true);
  auto& n = add_to(*m.mutable_graph(), "If", "outer", {"c"}, {"y"});
  for (const char* branch : {"then_branch", "else_branch"}) {
    auto& sub = *attribute(n, branch, A::GRAPH).mutable_g();
    if (branch == std::string("else_branch")) {
      add_to(sub, "Strange", "", {"x"}, {"r"});  // is not taken, and need not be known
      sub.add_output()->set_name("r");
      continue;
    }
    auto& w = *sub.add_initializer();
    w.set_name("w");
    w.set_data_type(onnx::TensorProto::FLOAT);
    w.add_dims(3);
    for (float v : {1.f, 2.f, 3.f}) w.add_float_data(v);
    add_to(sub, "Not", "", {"c"}, {"not_c"});
    auto& inner = add_to(sub, "If", "inner", {"not_c"}, {"r"});
    for (const char* side : {"then_branch", "else_branch"}) {
      auto& deep = *attribute(inner, side, A::GRAPH).mutable_g();
      add_to(deep, side == std::string("else_branch") ? "Add" : "Sub", "", {"h", "w"}, {"q"});
      deep.add_output()->set_name("q");
    }
    add_to(sub, "Exp", "", {"x"}, {"h"});  // after its use
    sub.add_output()->set_name("r");
  }
  add_node(m, "Relu", "after", {"y"}, {"outer/h"});  // the name that the branch's own h would take
  m.mutable_graph()->add_output()->set_name("outer/h");
  m.mutable_graph()->mutable_node()->SwapElements(0, 1);  // an If waits for what its branches use
  auto graph = accept("nested branches", m);
  REQUIRE(graph);
  CHECK(!verify(*graph));
  const Node& last = *graph->outputs[0].value->producer;
  CHECK(last.op->name == "add");
  CHECK(last.operand(0).producer->op->name == "exp");
  CHECK(to_array(*last.operand(1).data).f == std::vector<double>{1, 2, 3});
  CHECK(last.operand(1).name == "outer/w");
  CHECK(graph->outputs[1].value->producer->op->name == "relu");
}

TEST_CASE("an If waits for values that only its branches use") {
  auto m = model();
  add_truth(m, "c", true);
  auto& n = add_to(*m.mutable_graph(), "If", "first_in_the_file", {"c"}, {"y"});
  for (const char* branch : {"then_branch", "else_branch"}) {
    auto& sub = *attribute(n, branch, A::GRAPH).mutable_g();
    add_to(sub, "Neg", "", {"h"}, {"r"});
    sub.add_output()->set_name("r");
  }
  add_node(m, "Exp", "later", {"x"}, {"h"});
  auto graph = accept("unsorted", m);
  REQUIRE(graph);
  CHECK(graph->outputs[0].value->producer->operand(0).name == "h");
  m.mutable_graph()->mutable_node(1)->set_input(0, "y");
  refuse("a cycle through a branch", m, {"cycle of 2 ", "'first_in_the_file'", "'later'"});
}

TEST_CASE("an If in a function: the call's attributes and operands decide and are used") {
  for (int64_t which : {0, 1}) {
    auto m = model();
    auto& set_local = *m.add_opset_import();
    set_local.set_domain("local");
    set_local.set_version(1);
    auto& f = *m.add_functions();
    f.set_domain("local");
    f.set_name("f");
    f.add_input("x");
    f.add_output("r");
    auto& opset = *f.add_opset_import();
    opset.set_domain("");
    opset.set_version(18);
    onnx::GraphProto nodes;
    attribute(add_to(nodes, "Constant", "", {}, {"k"}), "value_int", A::INT).set_ref_attr_name("which");
    auto& to_bool = add_to(nodes, "Cast", "", {"k"}, {"c"});
    set(to_bool, "to", int64_t{onnx::TensorProto::BOOL});
    add_if(nodes, "c", "choose", "r");
    *f.mutable_node() = nodes.node();
    auto& n = add_node(m, "f", "call", {"x"}, {"y"});
    n.set_domain("local");
    set(n, "which", which);
    CHECK(only_op(m) == (which ? "exp" : "neg"));
  }
}

TEST_CASE("a condition that is not known is refused with the names of node and condition") {
  auto m = model();
  describe(*m.mutable_graph()->add_input(), "flag", onnx::TensorProto::BOOL, {});
  add_if(*m.mutable_graph(), "flag");
  refuse("an input decides", m, {"node 'choose' (If)", "condition 'flag'", "not known at compile time"});
  m = model();
  add_node(m, "Shape", "shape", {"x"}, {"s"});
  add_integers(m, "zero", {0}, true), add_integers(m, "one", {1}, true);
  add_node(m, "Gather", "extent", {"s", "zero"}, {"e"});
  add_node(m, "Equal", "is", {"e", "one"}, {"c"});
  add_if(*m.mutable_graph(), "c");
  refuse("a named extent decides", m, {"node 'choose' (If)", "condition 'c'", "not known at compile time"});
}

TEST_CASE("a taken branch that is malformed is refused") {
  auto m = model();
  add_truth(m, "c", true);
  add_if(*m.mutable_graph(), "c");
  auto then = [](onnx::ModelProto& m) -> onnx::GraphProto& { return *first_node(m).mutable_attribute(0)->mutable_g(); };
  refuse_each(m,
              {
                  {"no such branch",
                   [](auto& m) { first_node(m).mutable_attribute(0)->set_name("then"); },
                   {"'choose' (If)", "then_branch"}},
                  {"too few results", [=](auto& m) { then(m).clear_output(); }, {"'choose' (If)", "outputs"}},
                  {"a result that nothing makes",
                   [=](auto& m) { then(m).mutable_output(0)->set_name("no"); },
                   {"'choose' (If)", "'no'"}},
                  {"inputs", [=](auto& m) { then(m).add_input()->set_name("i"); }, {"'choose' (If)", "inputs"}},
                  {"an unknown operator",
                   [=](auto& m) { then(m).mutable_node(0)->set_op_type("Strange"); },
                   {"'choose' (If)", "(Strange)"}},
                  {"an operand that nothing makes",
                   [=](auto& m) { then(m).mutable_node(0)->set_input(0, "no"); },
                   {"'choose' (If)", "'no'"}},
                  {"a name twice", [=](auto& m) { *then(m).add_node() = then(m).node(0); }, {"'choose' (If)", "'r'"}},
                  {"no bool", [](auto& m) { first_node(m).set_input(0, "x"); }, {"'choose' (If)", "condition 'x'"}},
              });
}
