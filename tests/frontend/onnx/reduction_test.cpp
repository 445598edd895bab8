// ONNX's reductions that are made of others, along open extents.
#include <algorithm>
#include <cmath>

#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
double log_sum_exp(llvm::ArrayRef<double> row) {
  const double most = *std::max_element(row.begin(), row.end());
  if (std::isinf(most)) return most;
  double sum = 0;
  for (double v : row) sum += std::exp(v - most);
  return most + std::log(sum);
}
}  // namespace

TEST_CASE("ReduceL1, L2, LogSum and LogSumExp are what they are called, and no power overflows") {
  const double big = 1000, infinity = INFINITY;
  struct Row {
    const char* op;
    Array x;
    std::function<double(llvm::ArrayRef<double>)> of_row;
  };
  const auto sum = [](llvm::ArrayRef<double> row, auto f) {
    double out = 0;
    for (double v : row) out += f(v);
    return out;
  };
  const std::vector<Row> rows{
      {"ReduceL1", some({3, 4}), [&](auto row) { return sum(row, [](double v) { return std::abs(v); }); }},
      {"ReduceL2", some({3, 4}), [&](auto row) { return std::sqrt(sum(row, [](double v) { return v * v; })); }},
      {"ReduceLogSum", floats({1, 3}, {1, 2, 5}), [](auto) { return std::log(8.0); }},
      {"ReduceLogSumExp", some({3, 4}), log_sum_exp},
      {"ReduceLogSumExp", floats({2, 2}, {big, big + 1, -big, -big - 2}), log_sum_exp},
      {"ReduceLogSumExp", floats({3, 2}, {-infinity, -infinity, -infinity, 2, 1, infinity}), log_sum_exp},
  };
  for (const Row& row : rows)
    for (int64_t keepdims : {0, 1}) {
      CAPTURE(row.op);
      CAPTURE(keepdims);
      auto m = empty_model();
      add_input(m, "x", onnx::TensorProto::FLOAT, {-1, -1});
      add_integers(m, "axes", {-1});
      set(add_node(m, row.op, "the_node", {"x", "axes"}, {"y"}), "keepdims", keepdims);
      m.mutable_graph()->add_output()->set_name("y");
      auto graph = accept(row.op, m);
      REQUIRE(graph);
      const int64_t n = row.x.dims[0], each = row.x.dims[1];
      auto bound = must(bind_dims(*graph, {{"n0", n}, {"n1", each}}));
      const Array y = must(run_reference({bound.get()}, {NamedArrays{{"x", row.x}}}))[0].at("y");
      CHECK(llvm::ArrayRef(y.dims) ==
            llvm::ArrayRef<int64_t>(keepdims ? std::vector<int64_t>{n, 1} : std::vector<int64_t>{n}));
      for (size_t k = 0; k < size_t(n); ++k) {
        const double expected = row.of_row(llvm::ArrayRef(row.x.f).slice(k * size_t(each), size_t(each)));
        if (std::isinf(expected))
          CHECK(y.f[k] == expected);
        else
          CHECK(y.f[k] == doctest::Approx(expected).epsilon(1e-12));
      }
    }
}
