// Operators that are made of others, against what their definitions say.
#include <algorithm>
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "runtime/reference.h"
#include "tests/frontend/onnx/arrays.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
using Inputs = std::vector<std::pair<std::string, Array>>;
// A model of one node; every extent of every input is its own symbol where `open`.
onnx::ModelProto model_of(const std::string& op, const Inputs& inputs, const Names& outputs, int64_t opset = 18) {
  auto m = empty_model(opset);
  Names names;
  for (const auto& [name, array] : inputs) {
    add_input(m, name, array.is_float ? onnx::TensorProto::FLOAT : onnx::TensorProto::INT64,
              Numbers(array.dims.begin(), array.dims.end()));
    names.push_back(name);
  }
  add_node(m, op, "the_node", names, outputs);
  for (const std::string& o : outputs) m.mutable_graph()->add_output()->set_name(o);
  return m;
}
llvm::Expected<NamedArrays> run(const onnx::ModelProto& m, const Inputs& inputs, const DimValues& extents = {}) {
  auto graph = accept("operators", m);
  REQUIRE(graph);
  auto bound = bind_dims(*graph, extents);
  if (!bound) return bound.takeError();
  auto results = run_reference({bound->get()}, {NamedArrays(inputs.begin(), inputs.end())});
  if (!results) return results.takeError();
  return (*results)[0];
}
void check_close(const Array& y, const std::vector<double>& expected) {
  REQUIRE(y.f.size() == expected.size());
  for (size_t k = 0; k < expected.size(); ++k)
    if (!(std::isinf(expected[k]) && y.f[k] == expected[k]))
      CHECK(y.f[k] == doctest::Approx(expected[k]).epsilon(1e-6));  // attributes are float32
}
}  // namespace

TEST_CASE("activations are the functions that they are defined as") {
  const Array x = floats({9}, {-90, -4, -1, -0.25, 0, 0.25, 1, 4, 90});
  const auto softplus = [](double v) { return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))); };
  const auto hard = [](double v, double a, double b) { return std::max(0.0, std::min(1.0, a * v + b)); };
  struct Row {
    const char* op;
    std::vector<std::pair<const char*, float>> attributes;
    std::function<double(double)> f;
  };
  const std::vector<Row> rows{
      {"Softplus", {}, softplus},
      {"Softsign", {}, [](double v) { return v / (1 + std::abs(v)); }},
      {"Elu", {}, [](double v) { return v > 0 ? v : std::expm1(v); }},
      {"Elu", {{"alpha", 0.5f}}, [](double v) { return v > 0 ? v : 0.5 * std::expm1(v); }},
      {"Selu", {}, [](double v) { return 1.0507010 * (v > 0 ? v : 1.6732632 * std::expm1(v)); }},
      {"Celu", {{"alpha", 2}}, [](double v) { return std::max(v, 0.0) + std::min(0.0, 2 * std::expm1(v / 2)); }},
      {"Celu", {{"alpha", -4}}, [](double v) { return std::max(v, 0.0) + std::min(0.0, -4 * std::expm1(v / -4)); }},
      {"HardSigmoid", {}, [&](double v) { return hard(v, 0.2, 0.5); }},
      {"HardSigmoid", {{"alpha", 0.5f}, {"beta", 0.25f}}, [&](double v) { return hard(v, 0.5, 0.25); }},
      {"HardSwish", {}, [&](double v) { return v * hard(v, 1.0 / 6, 0.5); }},
      {"Mish", {}, [&](double v) { return v * std::tanh(softplus(v)); }},
      {"ThresholdedRelu", {{"alpha", 0.5f}}, [](double v) { return v > 0.5 ? v : 0; }},
      {"Shrink",
       {{"lambd", 0.5f}, {"bias", 0.25f}},
       [](double v) { return v < -0.5  ? v + 0.25
                             : v > 0.5 ? v - 0.25
                                       : 0; }},
  };
  for (const Row& row : rows) {
    CAPTURE(row.op);
    auto m = model_of(row.op, {{"x", x}}, {"y"});
    for (const auto& [name, value] : row.attributes) set(first_node(m), name, value);
    std::vector<double> expected;
    for (double v : x.f) expected.push_back(row.f(v));
    check_close(must(run(m, {{"x", x}})).at("y"), expected);
    refuse("an integer", model_of(row.op, {{"x", integers({2}, {1, 2})}}, {"y"}),
           {"'the_node'", "expected a floating type, found int64"});
  }
}

TEST_CASE("IsInf finds the infinities of the signs that it is to detect") {
  const Array x = floats({4}, {INFINITY, -INFINITY, NAN, 1});
  for (int64_t below : {0, 1})
    for (int64_t above : {0, 1}) {
      auto m = model_of("IsInf", {{"x", x}}, {"y"}, 20);
      set(first_node(m), "detect_negative", below);
      set(first_node(m), "detect_positive", above);
      CHECK(must(run(m, {{"x", x}})).at("y").i == std::vector<int64_t>{above, below, 0, 0});
    }
  CHECK(must(run(model_of("IsInf", {{"x", x}}, {"y"}), {{"x", x}})).at("y").i == std::vector<int64_t>{1, 1, 0, 0});
}

TEST_CASE("ArgMax and ArgMin give the first index of the extreme element, or the last; NaN is extreme") {
  const double nan = NAN;
  const Array x = floats({2, 4}, {1, 3, 3, -1, 2, nan, -5, -5});
  struct Row {
    const char* op;
    int64_t last;
    std::vector<int64_t> expected;
  };
  for (const Row& row : {Row{"ArgMax", 0, {1, 1}}, Row{"ArgMax", 1, {2, 1}}, Row{"ArgMin", 0, {3, 1}}})
    for (int64_t keepdims : {0, 1}) {
      auto m = model_of(row.op, {{"x", x}}, {"y"});
      set(first_node(m), "axis", int64_t(-1));
      set(first_node(m), "keepdims", keepdims);
      set(first_node(m), "select_last_index", row.last);
      const Array y = must(run(m, {{"x", x}})).at("y");
      CHECK(y.i == row.expected);
      CHECK(llvm::ArrayRef(y.dims) ==
            llvm::ArrayRef<int64_t>(keepdims ? std::vector<int64_t>{2, 1} : std::vector<int64_t>{2}));
    }
}

TEST_CASE("TopK gives the largest or the smallest elements in order, and where they are") {
  const Array x = floats({2, 5}, {1, 4, 2, 4, 0, 5, -1, 5, 7, 5});
  for (int64_t largest : {0, 1}) {
    auto m = model_of("TopK", {{"x", x}}, {"values", "indices"});
    first_node(m).add_input("k");
    add_integers(m, "k", {3});
    set(first_node(m), "largest", largest);
    const NamedArrays y = must(run(m, {{"x", x}}));
    CHECK(y.at("indices").i ==
          (largest ? std::vector<int64_t>{1, 3, 2, 3, 0, 2} : std::vector<int64_t>{4, 0, 2, 1, 0, 2}));
    CHECK(y.at("values").f ==
          (largest ? std::vector<double>{4, 4, 2, 7, 5, 5} : std::vector<double>{0, 1, 2, -1, 5, 5}));
  }
  auto m = model_of("TopK", {{"x", x}}, {"values", "indices"});
  first_node(m).add_input("k");
  add_integers(m, "k", {6});
  refuse("more than there are", m, {"'the_node'", "expected from 0 to extent 5 of dim 1, found 6"});
}

TEST_CASE("ScatterND writes at index tuples, counted from the end below 0, and leaves the rest") {
  const Array x = some({3, 4, 2});
  auto written = [&](Array index, Array updates, const char* reduction) {
    const Inputs inputs{{"x", x}, {"index", std::move(index)}, {"updates", std::move(updates)}};
    auto m = model_of("ScatterND", inputs, {"y"});
    set(first_node(m), "reduction", reduction);
    return run(m, inputs);
  };
  std::vector<double> rows = x.f, cells = x.f, added = x.f;
  const Array u = some({2, 4, 2}, 5), v = floats({2, 2}, {-INFINITY, 7, 8, 9});
  for (size_t k = 0; k < 8; ++k) rows[16 + k] = u.f[k], rows[k] = u.f[8 + k];
  check_close(must(written(integers({2, 1}, {2, 0}), u, "none")).at("y"), rows);
  cells[(1 * 4 + 3) * 2] = -INFINITY, cells[(1 * 4 + 3) * 2 + 1] = 7, cells[0] = 8, cells[1] = 9;
  check_close(must(written(integers({2, 2}, {-2, -1, 0, 0}), v, "none")).at("y"), cells);
  added[2] += 15, added[3] += 16;
  check_close(must(written(integers({2, 2}, {0, 1, 0, 1}), floats({2, 2}, {7, 7, 8, 9}), "add")).at("y"), added);
  auto outside = written(integers({1, 2}, {0, 4}), floats({1, 2}, {0, 0}), "none");
  REQUIRE_FALSE(bool(outside));
  CHECK(has(llvm::toString(outside.takeError()), "is outside"));
}

// x[:, from:from+2] = u for x of [n, 5], as PyTorch's exporter writes it: tuples of counted rows and known columns.
onnx::ModelProto assignment(const std::vector<int64_t>& columns) {
  auto m = empty_model(18);
  add_input(m, "x", onnx::TensorProto::FLOAT, {-1, 5});
  add_input(m, "u", onnx::TensorProto::FLOAT, {-1, 2});
  for (auto& input : *m.mutable_graph()->mutable_input())
    input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_param("n");
  for (const auto& [name, values] : {std::pair<const char*, Numbers>{"zero", {0}}, {"one", {1}}, {"two", {2}}})
    add_integers(m, name, values);
  add_integers(m, "columns", Numbers(columns.begin(), columns.end()));
  add_integers(m, "column", {-1, 1});
  add_integers(m, "last", {2});
  add_node(m, "Shape", "shape", {"x"}, {"dims"});
  add_node(m, "Gather", "rows", {"dims", "zero"}, {"n1"});
  add_node(m, "Squeeze", "squeeze", {"n1"}, {"n"});
  add_node(m, "Squeeze", "from", {"zero"}, {"start"});
  add_node(m, "Squeeze", "by", {"one"}, {"step"});
  add_node(m, "Range", "range", {"start", "n", "step"}, {"counted"});
  add_node(m, "Reshape", "stand", {"counted", "column"}, {"standing"});
  add_node(m, "Shape", "wide", {"u"}, {"u_dims"});
  for (const char* part : {"standing", "columns"}) {
    const std::string name = part;
    add_node(m, "Expand", name + "_all", {part, "u_dims"}, {name + "_all"});
    add_node(m, "Unsqueeze", name + "_one", {name + "_all", "last"}, {name + "_one"});
  }
  auto& join = add_node(m, "Concat", "join", {"standing_one", "columns_one"}, {"index"});
  set(join, "axis", int64_t(2));
  add_node(m, "ScatterND", "the_node", {"x", "index", "u"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  return m;
}

TEST_CASE("ScatterND that assigns to a slice is that slice between the rest, and other tuples are written one by one") {
  struct Row {
    std::vector<int64_t> columns;
    bool is_slice;
  };
  const Array x = some({3, 5}), u = some({3, 2}, 9);
  for (const Row& row : {Row{{0, 1}, true}, Row{{2, 3}, true}, Row{{3, 4}, true}, Row{{1, 0}, false},
                         Row{{1, 3}, false}, Row{{-2, -1}, false}}) {
    CAPTURE(row.columns[0]);
    CAPTURE(row.columns[1]);
    const auto m = assignment(row.columns);
    auto graph = accept("assignment", m);
    REQUIRE(graph);
    CHECK(graph->nodes.back()->op->is(Trait::joins) == row.is_slice);
    std::vector<double> expected = x.f;
    for (size_t i = 0; i < 3; ++i)
      for (size_t k = 0; k < 2; ++k) expected[i * 5 + size_t((row.columns[k] + 5) % 5)] = u.f[i * 2 + k];
    check_close(must(run(m, {{"x", x}, {"u", u}}, {{"n", 3}})).at("y"), expected);
  }
}

TEST_CASE("ScatterND by known tuples that go over a slice is that slice") {
  const Array x = some({2, 3}), u = some({2, 2}, 4);
  auto m = model_of("ScatterND", {{"x", x}, {"u", u}}, {"y"});
  auto& index = *m.mutable_graph()->add_initializer();
  index.set_name("index");
  index.set_data_type(onnx::TensorProto::INT64);
  for (int64_t d : {2, 2, 2}) index.add_dims(d);
  for (int64_t v : {0, 1, 0, 2, 1, 1, 1, 2}) index.add_int64_data(v);
  for (const char* name : {"x", "index", "u"}) {
    if (std::string(name) == "x") first_node(m).clear_input();
    first_node(m).add_input(name);
  }
  auto graph = accept("assignment", m);
  REQUIRE(graph);
  CHECK(graph->nodes.back()->op->is(Trait::joins));
  check_close(must(run(m, {{"x", x}, {"u", u}})).at("y"), {x.f[0], u.f[0], u.f[1], x.f[3], u.f[2], u.f[3]});
}

TEST_CASE("ScatterElements writes or adds along one axis, and refuses an index outside of it") {
  const Array x = some({3, 2}), u = floats({2, 2}, {10, 20, 30, 40});
  auto written = [&](const Array& at, const char* reduction, int64_t axis) {
    const Inputs inputs{{"x", x}, {"at", at}, {"u", u}};
    auto m = model_of("ScatterElements", inputs, {"y"});
    set(first_node(m), "reduction", reduction);
    set(first_node(m), "axis", axis);
    return run(m, inputs);
  };
  for (const bool adds : {false, true})
    for (int64_t axis : {0, 1, -1}) {
      const Array at = axis == 0 ? integers({2, 2}, {2, 0, -3, 1}) : integers({2, 2}, {1, 0, 0, -1});
      std::vector<double> y = x.f;
      for (size_t i = 0; i < 2; ++i)
        for (size_t j = 0; j < 2; ++j) {
          const int64_t extent = axis == 0 ? 3 : 2, k = (at.i[i * 2 + j] + extent) % extent;
          double& cell = axis == 0 ? y[size_t(k) * 2 + j] : y[i * 2 + size_t(k)];
          cell = u.f[i * 2 + j] + (adds ? cell : 0);
        }
      check_close(must(written(at, adds ? "add" : "none", axis)).at("y"), y);
    }
  for (int64_t k : {3, -4}) {
    auto y = written(integers({2, 2}, {0, 0, 1, k}), "none", 0);
    REQUIRE_FALSE(bool(y));
    CHECK(has(llvm::toString(y.takeError()), "is outside"));
  }
}

TEST_CASE("Range counts over floats whose ends are computed from extents") {
  struct Row {
    std::vector<std::pair<const char*, Names>> nodes;  // of n, the extent as a float
    Names bounds;
    std::vector<double> expected;  // where the extent is 5
  };
  const std::vector<Row> rows{
      {{}, {"zero", "n", "one"}, {0, 1, 2, 3, 4}},
      {{}, {"zero", "n", "half"}, {0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5}},
      {{}, {"n", "zero", "back"}, {5, 3, 1}},
      {{}, {"n", "zero", "one"}, {}},
      {{{"Mul", {"n", "half"}}}, {"half", "t0", "one"}, {0.5, 1.5}},
      {{{"Mul", {"n", "half"}}, {"Ceil", {"t0"}}}, {"zero", "t1", "one"}, {0, 1, 2}},
      {{{"Sub", {"n", "one"}}, {"Neg", {"t0"}}}, {"t1", "zero", "one"}, {-4, -3, -2, -1}},
  };
  for (const Row& row : rows) {
    auto m = empty_model();
    add_input(m, "x", onnx::TensorProto::FLOAT, {-1});
    for (const auto& [name, value] : {std::pair{"zero", 0.f}, {"one", 1.f}, {"half", 0.5f}, {"back", -2.f}})
      add_floats(m, name, {}, value);
    add_integers(m, "first", {0}, true);
    add_node(m, "Shape", "shape", {"x"}, {"s"});
    add_node(m, "Gather", "gather", {"s", "first"}, {"i"});
    set(add_node(m, "Cast", "cast", {"i"}, {"n"}), "to", int64_t(onnx::TensorProto::FLOAT));
    for (size_t k = 0; k < row.nodes.size(); ++k)
      add_node(m, row.nodes[k].first, "n" + std::to_string(k), row.nodes[k].second, {"t" + std::to_string(k)});
    add_node(m, "Range", "the_node", row.bounds, {"y"});
    m.mutable_graph()->add_output()->set_name("y");
    check_close(must(run(m, {{"x", some({5})}}, {{"n0", 5}})).at("y"), row.expected);
  }
}

namespace {
// The sum over all letters, one after the other; letters of an ellipsis are upper case here.
std::vector<double> einsum(const std::vector<std::string>& terms, const std::string& result,
                           const std::vector<Array>& x, const std::map<char, int64_t>& extent) {
  std::string letters = result;
  for (const std::string& t : terms)
    for (char c : t)
      if (letters.find(c) == std::string::npos) letters += c;
  std::map<char, int64_t> at;
  int64_t count = 1, size = 1;
  for (char c : result) size *= extent.at(c);
  std::vector<double> y(size_t(size), 0.0);
  for (char c : letters) count *= extent.at(c);
  for (int64_t k = 0; k < count; ++k) {
    int64_t rest = k;
    for (size_t l = letters.size(); l-- > 0;)
      at[letters[l]] = rest % extent.at(letters[l]), rest /= extent.at(letters[l]);
    double product = 1;
    for (size_t o = 0; o < x.size(); ++o) {
      int64_t offset = 0;
      for (size_t d = 0; d < terms[o].size(); ++d)
        offset = offset * x[o].dims[d] + (x[o].dims[d] == 1 ? 0 : at[terms[o][d]]);
      product *= x[o].f[size_t(offset)];
    }
    int64_t to = 0;
    for (char c : result) to = to * extent.at(c) + at[c];
    y[size_t(to)] += product;
  }
  return y;
}
}  // namespace

TEST_CASE("Einsum of one operand, of several, with ellipses and without a result") {
  const std::map<char, int64_t> extent{{'b', 2}, {'i', 3}, {'j', 4}, {'k', 5}, {'l', 2}, {'A', 2}, {'B', 3}};
  struct Row {
    const char* equation;
    std::vector<std::string> terms;
    std::string result;
  };
  for (const Row& row : {Row{"ij->ji", {"ij"}, "ji"}, Row{"bij->bj", {"bij"}, "bj"}, Row{"ji", {"ji"}, "ij"},
                         Row{"...ij->...ji", {"ABij"}, "ABji"}, Row{"bi, ij, bj -> b", {"bi", "ij", "bj"}, "b"},
                         Row{"ij,jk,kl", {"ij", "jk", "kl"}, "il"}, Row{"...ij,...jk", {"ABij", "Bjk"}, "ABik"},
                         Row{"b...,b...->...", {"bAB", "bAB"}, "AB"}, Row{"i,j,k->kji", {"i", "j", "k"}, "kji"},
                         Row{"i...->i", {"iAB"}, "i"}, Row{"ii->i", {"ii"}, "i"}, Row{"ii", {"ii"}, ""},
                         Row{"bii->bi", {"bii"}, "bi"}, Row{"iji->j", {"iji"}, "j"}, Row{"iii->i", {"iii"}, "i"},
                         Row{"...ii->...", {"ABii"}, "AB"}, Row{"iij,jk", {"iij", "jk"}, "k"}}) {
    CAPTURE(row.equation);
    Inputs inputs;
    std::vector<Array> x;
    for (size_t k = 0; k < row.terms.size(); ++k) {
      std::vector<int64_t> dims;
      for (char c : row.terms[k]) dims.push_back(extent.at(c));
      x.push_back(some(dims, int64_t(k)));
      inputs.push_back({"x" + std::to_string(k), x.back()});
    }
    auto m = model_of("Einsum", inputs, {"y"});
    set(first_node(m), "equation", row.equation);
    check_close(must(run(m, inputs)).at("y"), einsum(row.terms, row.result, x, extent));
  }
  for (const char* equation : {"ij,jk", "iij->j", "ij->ii", "ij->ik", "i->i", "i..j->i", ""}) {
    auto m = model_of("Einsum", {{"x", some({3, 4})}}, {"y"});
    set(first_node(m), "equation", equation);
    refuse(equation, m, {"'the_node'", "equation"});
  }
  auto m = model_of("Einsum", {{"x", some({3, 4})}}, {"y"});
  set(first_node(m), "equation", "ii->i");
  refuse("a diagonal of what is no square", m, {"'the_node'", "3 and 4 differ"});
}

TEST_CASE("losses of classes weigh and leave out labels as ONNX says, and refuse those that are no class") {
  const Array scores = some({2, 3, 2}), labels = integers({2, 2}, {0, 2, 1, -7}), weights = floats({3}, {0.5, 1, 2});
  for (const char* op : {"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"})
    for (const char* reduction : {"none", "sum", "mean"}) {
      const Inputs inputs{{"x", scores}, {"labels", labels}, {"weights", weights}};
      auto m = model_of(op, inputs, {"y"});
      set(first_node(m), "reduction", reduction);
      set(first_node(m), "ignore_index", int64_t(-7));
      std::vector<double> terms;
      double sum = 0, count = 0;
      for (size_t b = 0; b < 2; ++b)
        for (size_t d = 0; d < 2; ++d) {
          const int64_t label = labels.i[b * 2 + d];
          if (label < 0) {
            terms.push_back(0);
            continue;
          }
          auto score = [&](int64_t c) { return scores.f[(b * 3 + size_t(c)) * 2 + d]; };
          double log_p = score(label);
          if (op[0] == 'S') log_p -= std::log(std::exp(score(0)) + std::exp(score(1)) + std::exp(score(2)));
          terms.push_back(-weights.f[size_t(label)] * log_p);
          sum += terms.back(), count += weights.f[size_t(label)];
        }
      const std::vector<double> expected = reduction[0] == 'n'   ? terms
                                           : reduction[0] == 's' ? std::vector<double>{sum}
                                                                 : std::vector<double>{sum / count};
      check_close(must(run(m, inputs)).at("y"), expected);
    }
  for (int64_t label : {-1, 3}) {
    const Inputs inputs{{"x", scores}, {"labels", integers({2, 2}, {0, label, 1, 0})}};
    auto y = run(model_of("SoftmaxCrossEntropyLoss", inputs, {"y"}), inputs);
    REQUIRE_FALSE(bool(y));
    CHECK(has(llvm::toString(y.takeError()), "is outside"));
  }
}

TEST_CASE("normalisations take mean and variance of a channel, of a group, or as they are given") {
  const Array x = some({2, 4, 3}), scale = floats({4}, {1, 2, -1, 0.5}), bias = floats({4}, {0, 1, 2, 3});
  auto normal = [&](size_t groups) {
    std::vector<double> y = x.f;
    const size_t n = 12 / groups;
    for (size_t r = 0; r < 2 * groups; ++r) {
      double mean = 0, variance = 0;
      for (size_t k = 0; k < n; ++k) mean += y[r * n + k] / double(n);
      for (size_t k = 0; k < n; ++k) variance += (y[r * n + k] - mean) * (y[r * n + k] - mean) / double(n);
      for (size_t k = 0; k < n; ++k) y[r * n + k] = (y[r * n + k] - mean) / std::sqrt(variance + 1e-5);
    }
    return y;
  };
  auto scaled = [&](std::vector<double> y, const Array& s, const Array& b) {
    for (size_t k = 0; k < y.size(); ++k) {
      const size_t c = k / 3 % 4 * s.f.size() / 4;
      y[k] = y[k] * s.f[c] + b.f[c];
    }
    return y;
  };
  const Inputs by_channel{{"x", x}, {"scale", scale}, {"bias", bias}};
  check_close(must(run(model_of("InstanceNormalization", by_channel, {"y"}), by_channel)).at("y"),
              scaled(normal(4), scale, bias));
  auto m = model_of("GroupNormalization", by_channel, {"y"}, 21);
  set(first_node(m), "num_groups", int64_t(2));
  check_close(must(run(m, by_channel)).at("y"), scaled(normal(2), scale, bias));
  const Array two = floats({2}, {3, -2}), one = floats({2}, {1, 0});
  const Inputs by_group{{"x", x}, {"scale", two}, {"bias", one}};
  m = model_of("GroupNormalization", by_group, {"y"}, 18);
  set(first_node(m), "num_groups", int64_t(2));
  check_close(must(run(m, by_group)).at("y"), scaled(normal(2), two, one));

  const Array mean = floats({4}, {1, 0, -1, 2}), variance = floats({4}, {1, 4, 9, 0.25});
  const Inputs given{{"x", x}, {"scale", scale}, {"bias", bias}, {"mean", mean}, {"variance", variance}};
  std::vector<double> y = x.f;
  for (size_t k = 0; k < y.size(); ++k) y[k] = (y[k] - mean.f[k / 3 % 4]) / std::sqrt(variance.f[k / 3 % 4] + 1e-5);
  check_close(must(run(model_of("BatchNormalization", given, {"y"}), given)).at("y"), scaled(y, scale, bias));
}

TEST_CASE("a table that is cut to an extent must have as many rows, which is checked when the extent is known") {
  // y = x + table[max(16 - n, 0):], as position biases are cut from their end
  auto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {-1});
  add_floats(m, "table", {16}, 0.5f);
  for (const auto& [name, value] : {std::pair{"first", 0}, {"rows", 16}, {"most", INT32_MAX}})
    add_integers(m, name, {value});
  add_node(m, "Shape", "shape", {"x"}, {"n"});
  add_node(m, "Sub", "left", {"rows", "n"}, {"unused"});
  add_node(m, "Max", "start", {"unused", "first"}, {"begin"});
  add_node(m, "Slice", "cut", {"table", "begin", "most"}, {"part"});
  add_node(m, "Add", "the_node", {"x", "part"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  for (int64_t n : {1, 5, 16}) {
    std::vector<double> expected = some({n}).f;
    for (double& v : expected) v += 0.5;
    check_close(must(run(m, {{"x", some({n})}}, {{"n0", n}})).at("y"), expected);
  }
  auto y = run(m, {{"x", some({17})}}, {{"n0", 17}});
  REQUIRE_FALSE(bool(y));
  const std::string message = llvm::toString(y.takeError());
  for (const char* part : {"'the_node'", "17", "must equal"}) CHECK(has(message, part));
}

TEST_CASE("an extent less a window is divided as it must be, which is checked when the extent is known") {
  // y = 0, 1, … below (n - 4) / 3 + 1, as many as windows of 4 in steps of 3
  auto m = empty_model();
  add_input(m, "x", onnx::TensorProto::FLOAT, {-1});
  for (const auto& [name, value] : {std::pair{"zero", 0}, {"one", 1}, {"window", 4}, {"stride", 3}})
    add_integers(m, name, {value}, true);
  add_node(m, "Shape", "shape", {"x"}, {"s"});
  add_node(m, "Squeeze", "squeeze", {"s"}, {"n"});
  add_node(m, "Sub", "sub", {"n", "window"}, {"left"});
  add_node(m, "Div", "the_node", {"left", "stride"}, {"more"});
  add_node(m, "Add", "add", {"more", "one"}, {"count"});
  add_node(m, "Range", "range", {"zero", "count", "one"}, {"y"});
  m.mutable_graph()->add_output()->set_name("y");
  for (int64_t n : {4, 6, 7, 12}) {
    std::vector<int64_t> expected;
    for (int64_t k = 0; k <= (n - 4) / 3; ++k) expected.push_back(k);
    CHECK(must(run(m, {{"x", some({n})}}, {{"n0", n}})).at("y").i == expected);
  }
  auto y = run(m, {{"x", some({3})}}, {{"n0", 3}});
  REQUIRE_FALSE(bool(y));
  CHECK(has(llvm::toString(y.takeError()), "'the_node'"));
}
