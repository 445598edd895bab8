// ONNX's Mod: of integers and floats, rounded down and to zero.
#include "runtime/reference.h"
#include "tests/frontend/onnx/model_file.h"

using namespace optp;

TEST_CASE("Mod rounds the quotient down, with fmod to zero; since opset 28 of integers and floats alike") {
  struct Row {
    int dtype;
    int64_t fmod, opset;
    std::vector<double> expected;  // of 7, -7, 7, -7 by 3, 3, -3, -3
  };
  const std::vector<double> down = {1, 2, -2, -1}, to_zero = {1, -1, 1, -1};
  for (const Row& row : {Row{onnx::TensorProto::INT64, 0, 18, down}, Row{onnx::TensorProto::INT64, 1, 18, to_zero},
                         Row{onnx::TensorProto::INT64, 1, 28, to_zero}, Row{onnx::TensorProto::FLOAT, 1, 18, to_zero},
                         Row{onnx::TensorProto::FLOAT, 1, 28, to_zero}, Row{onnx::TensorProto::FLOAT, 0, 28, down}}) {
    CAPTURE(row.dtype);
    CAPTURE(row.fmod);
    CAPTURE(row.opset);
    auto m = empty_model(row.opset);
    for (const char* name : {"a", "b"}) add_input(m, name, row.dtype, {4});
    set(add_node(m, "Mod", "mod", {"a", "b"}, {"y"}), "fmod", row.fmod);
    m.mutable_graph()->add_output()->set_name("y");
    auto graph = accept("Mod", m);
    REQUIRE(graph);
    NamedArrays inputs;
    for (auto [name, values] : {std::pair{"a", std::vector<double>{7, -7, 7, -7}}, {"b", {3, 3, -3, -3}}}) {
      Array& a = inputs[name];
      a.resize(row.dtype == onnx::TensorProto::FLOAT, {4});
      for (size_t k = 0; k < 4; ++k)
        if (a.is_float)
          a.f[k] = values[k];
        else
          a.i[k] = int64_t(values[k]);
    }
    auto results = run_reference({graph.get()}, {inputs});
    REQUIRE(bool(results));
    for (int64_t k = 0; k < 4; ++k) CHECK((*results)[0].at("y").number(k) == row.expected[size_t(k)]);
  }
}
