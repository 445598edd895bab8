// Graphs that do not hang together, types and shapes that contradict each other.
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

namespace {
constexpr int int64 = onnx::TensorProto::INT64;
constexpr int float32 = onnx::TensorProto::FLOAT;
constexpr int64_t huge = int64_t{1} << 62;
onnx::ModelProto chain(int length, const std::string& op = "Relu") {
  auto m = empty_model();
  add_input(m, "v0", float32, {2});
  for (int k = 0; k < length; ++k)
    add_node(m, op, "node" + std::to_string(k), {"v" + std::to_string(k)}, {"v" + std::to_string(k + 1)});
  m.mutable_graph()->add_output()->set_name("v" + std::to_string(length));
  return m;
}
}  // namespace

TEST_CASE("graphs that do not hang together are refused") {
  refuse_each(
      small_model(),
      {
          {"an operand that nothing makes",
           [](auto& m) { first_node(m).set_input(1, "nothing"); },
           {"'product'", "'nothing'"}},
          {"a self-loop", [](auto& m) { first_node(m).set_input(0, "h"); }, {"cycle of 1 ", "'product'"}},
          {"a cycle of two", [](auto& m) { first_node(m).set_input(0, "y"); }, {"cycle of 2 ", "'product'", "'act'"}},
          {"an output twice", [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"h"}); }, {"'again'", "'h'"}},
          {"an output twice in one node",
           [](auto& m) { add_node(m, "Dropout", "again", {"x"}, {"z", "z"}); },
           {"'again'", "'z'"}},
          {"an output named as an initializer",
           [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"w"}); },
           {"'again'", "'w'"}},
          {"an output named as an input",
           [](auto& m) { add_node(m, "Relu", "again", {"x"}, {"x"}); },
           {"'again'", "'x'"}},
          {"an initializer twice", [](auto& m) { add_floats(m, "w", {3, 4}); }, {"'w'"}},
          {"an input twice", [](auto& m) { add_input(m, "x", float32, {2, 3}); }, {"'x'"}},
          {"a sparse initializer",
           [](auto& m) { m.mutable_graph()->add_sparse_initializer()->mutable_values()->set_name("w"); },
           {"'w'", "sparse"}},
          {"an initializer without a name", [](auto& m) { add_floats(m, "", {1}); }, {"initializer"}},
          {"an input without a name", [](auto& m) { add_input(m, "", float32, {1}); }, {"input"}},
          {"a required operand without a name",
           [](auto& m) { first_node(m).set_input(1, ""); },
           {"'product'", "operand 1"}},
          {"all outputs without a name",
           [](auto& m) { add_node(m, "Relu", "idle", {"x"}, {""}); },
           {"'idle'", "outputs"}},
          {"no outputs", [](auto& m) { add_node(m, "Relu", "idle", {"x"}, {}); }, {"'idle'", "outputs"}},
          {"no inputs and no outputs", [](auto& m) { add_node(m, "Relu", "idle", {}, {}); }, {"'idle'"}},
          {"no inputs", [](auto& m) { add_node(m, "Relu", "idle", {}, {"z"}); }, {"'idle'", "operand 0"}},
          {"too few operands",
           [](auto& m) { first_node(m).mutable_input()->RemoveLast(); },
           {"'product'", "operand 1"}},
          {"too many operands", [](auto& m) { first_node(m).add_input("x"); }, {"'product'", "operand 2"}},
          {"too many outputs", [](auto& m) { first_node(m).add_output("h2"); }, {"'product'", "output 1"}},
          {"a million operands",
           [](auto& m) {
             for (int k = 0; k < 1000000; ++k) first_node(m).add_input("x");
           },
           {"'product'", "operands"}},
          {"no graph outputs", [](auto& m) { m.mutable_graph()->clear_output(); }, {"outputs"}},
          {"a graph output that nothing makes",
           [](auto& m) { m.mutable_graph()->mutable_output(0)->set_name("nothing"); },
           {"'nothing'"}},
          {"a graph output without a name", [](auto& m) { m.mutable_graph()->add_output(); }, {"output ''"}},
          {"a graph output twice", [](auto& m) { m.mutable_graph()->add_output()->set_name("y"); }, {"'y'"}},
          {"an empty operator", [](auto& m) { first_node(m).set_op_type(""); }, {"'product'"}},
          {"an unknown operator", [](auto& m) { first_node(m).set_op_type("MatMull"); }, {"'product' (MatMull)", "18"}},
          {"an operator of a later opset",
           [](auto& m) { first_node(m).set_op_type("RMSNormalization"); },
           {"'product' (RMSNormalization)", "18"}},
          {"a Loop of 2^63 - 1 turns",
           [](auto& m) {
             add_integers(m, "trips", {INT64_MAX}, true);
             attribute(add_node(m, "Loop", "loop", {"trips", ""}, {"z"}), "body", onnx::AttributeProto::GRAPH)
                 .mutable_g()
                 ->set_name("body");
           },
           {"'loop' (Loop)"}},
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

TEST_CASE("a graph that was exported in training mode is refused with the way out") {
  onnx::ModelProto m = empty_model();
  add_input(m, "x", float32, {2, 3});
  add_floats(m, "ratio", {}, 0.1f);
  auto& training = *m.mutable_graph()->add_initializer();
  training.set_name("training");
  training.set_data_type(onnx::TensorProto::BOOL);
  training.add_int32_data(1);
  add_node(m, "Dropout", "drop", {"x", "ratio", "training"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  const ScratchFolder folder;
  auto graph = import_onnx(folder.put("model.onnx", m.SerializeAsString()));
  REQUIRE(!graph);
  CHECK(llvm::toString(graph.takeError()) ==
        folder / "model.onnx" +
            ": node 'drop' (Dropout): operand 2 'training': training mode: expected false; export "
            "with model.eval()");
  m.mutable_graph()->mutable_initializer(1)->set_int32_data(0, 0);
  CHECK(bool(import_onnx(folder.put("model.onnx", m.SerializeAsString()))));
}

TEST_CASE("types and shapes that are missing, impossible or contradict each other are refused") {
  auto input = [](auto& m) -> onnx::ValueInfoProto& { return *m.mutable_graph()->mutable_input(0); };
  auto dims = [=](Numbers d) { return [=](onnx::ModelProto& m) { describe(input(m), "x", float32, d); }; };
  std::vector<BadCase> cases = {
      {"no type", [=](auto& m) { input(m).clear_type(); }, {"input 'x'"}},
      {"a sequence", [=](auto& m) { input(m).mutable_type()->mutable_sequence_type(); }, {"input 'x'"}},
      {"no shape", [=](auto& m) { input(m).mutable_type()->mutable_tensor_type()->clear_shape(); }, {"input 'x'"}},
      {"value_info of another dtype",
       [](auto& m) { describe(*m.mutable_graph()->add_value_info(), "h", int64, {2, 4}); },
       {"value_info 'h'", "float32"}},
      {"an input that contradicts its initializer", [](auto& m) { add_input(m, "w", float32, {3, 5}); }, {"input 'w'"}},
      {"an output of another dtype",
       [](auto& m) { describe(*m.mutable_graph()->mutable_output(0), "y", int64, {2, 4}); },
       {"output 'y'"}},
      {"an output that is a sequence",
       [](auto& m) { m.mutable_graph()->mutable_output(0)->mutable_type()->mutable_sequence_type(); },
       {"output 'y'"}},
      {"a negative extent", dims({-5, 3}), {"input 'x'", "-5"}},
      {"an extent of 2^62", dims({huge, 3}), {"input 'x'"}},
      {"a product beyond 64 bits", dims({int64_t{1} << 32, int64_t{1} << 32}), {"input 'x'"}},
      {"2^63 bytes", dims({int64_t{1} << 31, int64_t{1} << 30}), {"input 'x'"}},
      {"an empty product beyond 64 bits", dims({0, int64_t{1} << 40, int64_t{1} << 40}), {"input 'x'"}},
      {"65 dims", dims(Numbers(65, 1)), {"input 'x'"}},
      {"a million dims", dims(Numbers(1000000, 1)), {"input 'x'"}},
      {"dims that do not multiply", dims({2, 4}), {"'product' (MatMul)"}},
      {"one dim with two sizes",
       [=](auto& m) {
         describe(input(m), "x", float32, {-1, 3});
         add_floats(m, "two", {2, 3}), add_floats(m, "five", {5, 3});
         add_node(m, "Add", "add2", {"x", "two"}, {"a"}), add_node(m, "Add", "add5", {"a", "five"}, {"b"});
       },
       {"(Add)", "differ"}},
  };
  for (int dtype : {0, 14, 15, 17, 23, 24, 255, 256, 257, 999, -1, INT32_MAX, INT32_MIN})
    cases.push_back({"dtype " + std::to_string(dtype),
                     [=](auto& m) { input(m).mutable_type()->mutable_tensor_type()->set_elem_type(dtype); },
                     {"input 'x'", std::to_string(dtype)}});
  refuse_each(small_model(), cases);
  accept("an output without a type", [] {
    auto m = small_model();
    m.mutable_graph()->mutable_output(0)->clear_type();
    return m;
  }());
  accept("value_info of what is not there", [] {
    auto m = small_model();
    describe(*m.mutable_graph()->add_value_info(), "gone", int64, {1});
    return m;
  }());
}

TEST_CASE("a dim's name may be any text, and stays a name unless it is an expression") {
  std::string deep(1000, '('), sum = "a", product = "a";
  for (int k = 0; k < 20000; ++k) sum += "+a" + std::to_string(k);
  for (int k = 0; k < 40; ++k) product += "*(a" + std::to_string(k) + "+b)";
  for (const std::string& name : {std::string(),
                                  std::string("12"),
                                  std::string("-1"),
                                  std::string("a/0"),
                                  std::string("a//0"),
                                  std::string("0/a"),
                                  std::string("9999999999999999999999"),
                                  std::string("9223372036854775807*n"),
                                  deep + "n" + std::string(1000, ')'),
                                  std::string(1000, '-') + "n",
                                  sum,
                                  product,
                                  std::string(1 << 20, 'n'),
                                  std::string(1 << 20, '\n'),
                                  std::string("part(768, tensor)"),
                                  std::string("start(n, tensor)"),
                                  std::string("floor(n, 0)"),
                                  std::string("min(n, 2)"),
                                  std::string("max(n, 0"),
                                  std::string("a\0b", 3),
                                  std::string("\x1b[2J"),
                                  std::string("\xff"),
                                  std::string("batch size"),
                                  std::string("past + sequence"),
                                  std::string("t:n"),
                                  std::string("?"),
                                  std::string("None")}) {
    auto m = empty_model();
    add_input(m, "x", float32, {-1, 3})
        .mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(0)
        ->set_dim_param(name);
    add_floats(m, "w", {3, 4});
    add_node(m, "MatMul", "product", {"x", "w"}, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("dim_param " + name.substr(0, 20), m);
    REQUIRE(graph);
    CHECK(!has_rank_terms(graph->inputs[0]->type.dims[0]));
    CHECK(!graph->inputs[0]->type.dims[0].constant());
  }
}
