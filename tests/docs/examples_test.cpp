// The pages that show how to add something: their code is built here, and does what they say.
#include <cmath>
#include <fstream>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/export.h"
#include "passes/passes.h"
#include "passes/plan/job.h"
#include "passes/training.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
std::string text_of(const std::string& file) {
  std::ifstream in(OPTP_SOURCE + ("/" + file));
  REQUIRE(in.is_open());
  return {std::istreambuf_iterator<char>(in), {}};
}
int64_t count(const Graph& g, llvm::StringRef op) {
  return llvm::count_if(g.nodes, [&](const auto& node) { return node->op->name == op; });
}
}  // namespace

TEST_CASE("what a page shows is the file that is built") {
  for (const auto& [page, file] : {std::pair{"docs/adding-an-op.md", "tests/docs/asinh.cpp"},
                                   {"docs/adding-a-strategy.md", "tests/docs/mlp_strategy.cpp"},
                                   {"docs/adding-an-error.md", "tests/docs/new_error.cpp"},
                                   {"docs/library.md", "examples/consumer/main.cpp"}}) {
    CAPTURE(page);
    CHECK(text_of(page).find("```cpp\n" + text_of(file) + "```\n") != std::string::npos);
  }
}

TEST_CASE("a new op is read, split, differentiated and written") {
  // y = asinh(x · w) on three devices, the 5 columns of w split by a constraint.
  onnx::ModelProto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {2, 3});
  std::vector<float> w(15);
  for (size_t k = 0; k < w.size(); ++k) w[k] = float(k) / 4 - 2;
  add_floats(m, "w", {3, 5}).set_raw_data(w.data(), w.size() * sizeof(float));
  add_node(m, "MatMul", "product", {"x", "w"}, {"h"});
  add_node(m, "Asinh", "asinh", {"h"}, {"y"});
  describe(*m.mutable_graph()->add_output(), "y", onnx::TensorProto::FLOAT, {2, 5});
  const ScratchFolder folder;
  JobOptions o;
  o.model = folder.put("model.onnx", m.SerializeAsString());
  o.devices = 3;
  o.constraints = {{"w", "[_, tensor]", words("test")}};
  const Job job = must(make_job(o));
  CHECK(job.ranks[2]->find("y") != nullptr);

  Array x;
  x.resize(true, {2, 3});
  for (size_t k = 0; k < 6; ++k) x.f[k] = double(k) - 2.5;
  {
    auto out = must(OutputTransaction::begin(folder / "out"));
    for (size_t r = 0; r < 3; ++r)
      if (auto e = write_rank_model(*job.ranks[r], out, "rank" + std::to_string(r), {}))
        FAIL(llvm::toString(std::move(e)));
    if (auto e = out.commit()) FAIL(llvm::toString(std::move(e)));
  }
  std::vector<std::unique_ptr<Graph>> read;
  std::vector<const Graph*> ranks;
  for (size_t r = 0; r < 3; ++r) {
    read.push_back(must(import_onnx(folder / ("out/rank" + std::to_string(r) + "/model.onnx"))));
    ranks.push_back(read.back().get());
    CHECK(count(*read.back(), "asinh") == 1);
  }
  const auto results = must(run_reference(ranks, {{{"x", x}}, {{"x", x}}, {{"x", x}}}));
  for (const auto& result : results)
    for (size_t i = 0; i < 2; ++i)
      for (size_t j = 0; j < 5; ++j) {
        double h = 0;
        for (size_t k = 0; k < 3; ++k) h += x.f[i * 3 + k] * w[k * 5 + j];
        CHECK(result.at("y").f[i * 5 + j] == doctest::Approx(std::asinh(h)));
      }
}

TEST_CASE("a new op's gradient is that of the page") {
  Graph g;
  Array values;
  values.resize(true, {4});
  values.f = {-2, -0.5, 0, 3};
  Value& w = g.add_data("w", to_tensor(values, DType::f64));
  w.is_parameter = true;
  Builder build(g);
  build.set_fold(false);
  Value& y = *must(build.create("asinh", {&w}, {}, "y"));
  Array ones = values;
  ones.f = {1, 1, 1, 1};
  Value& dy = g.add_data("dy", to_tensor(ones, DType::f64));
  const auto gradients = must(differentiate(g, y, dy));
  REQUIRE(gradients.size() == 1);
  g.outputs.push_back({"dw", gradients[0].gradient});
  const auto result = must(run_reference({&g}, {{}}));
  for (size_t k = 0; k < 4; ++k)
    CHECK(result[0].at("dw").f[k] == doctest::Approx(1 / std::sqrt(values.f[k] * values.f[k] + 1)));
}

TEST_CASE("a new strategy splits what it says and nothing else") {
  JobOptions o;
  o.model = OPTP_TEST_DATA "/exports/opt-tiny/model.onnx";
  o.devices = 2;
  o.strategy = "mlp";
  const Job job = must(make_job(o));
  CHECK(count(*job.spmd, "all_reduce") == 2);  // one for each layer
  int64_t split = 0;
  for (const Value* v : job.whole->data()) {
    if (!v->is_parameter || v->sharding->is_replicated()) continue;
    ++split;
    CHECK(v->cause.text.find("mlp: ") == 0);
  }
  CHECK(split == 2 * 3);  // fc1's weight and bias, fc2's weight
}
