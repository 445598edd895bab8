// Gradient rules against central differences: every op that has a rule, and every graph of several nodes in samples.h,
// differentiated as a training step is and computed in float64.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "frontend/ir/op.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/training.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tests/passes/samples.h"

using namespace optp;
using namespace optp::samples;

namespace {
constexpr unsigned seed = 505;
using Random = std::mt19937;

const Table& table() {
  static const Table samples;
  return samples;
}
llvm::SmallVector<int64_t, 4> numbers(llvm::ArrayRef<Dim> dims) {
  llvm::SmallVector<int64_t, 4> out;
  for (Dim d : dims) out.push_back(must(evaluate(d, named_dims())));
  return out;
}
std::string name_of(size_t k) { return "x" + std::to_string(k); }
bool is_trained(const Input& input) { return is_float(input.dtype); }

// Elements of floating inputs are points of one grid, each taken once: no two are equal, none is a whole or half
// number, and what lies between two of them is wider than the steps taken below, so that max, |x| or ⌊x⌋ have slopes
// here.
std::vector<Array> elements_of(const Sample& sample, Random& random) {
  std::vector<Array> out;
  int64_t total = 0;
  for (const Input& input : sample.inputs) {
    out.emplace_back().resize(is_float(input.dtype), numbers(input.dims));
    if (is_float(input.dtype)) total += out.back().elements();
  }
  std::vector<int64_t> order(static_cast<size_t>(total));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  size_t next = 0;
  for (size_t k = 0; k < out.size(); ++k) {
    const Input& input = sample.inputs[k];
    for (double& x : out[k].f) x = input.low + (input.high - input.low) * (double(order[next++]) + 0.3) / double(total);
    for (int64_t& x : out[k].i)
      x = std::uniform_int_distribution<int64_t>(int64_t(input.low), int64_t(input.high))(random);
    if (!input.distinct) continue;
    std::vector<int64_t> all(size_t(input.high - input.low) + 1);
    std::iota(all.begin(), all.end(), int64_t(input.low));
    std::shuffle(all.begin(), all.end(), random);
    std::copy_n(all.begin(), out[k].i.size(), out[k].i.begin());
  }
  return out;
}
std::string text_of(const Graph& graph) {
  std::string text;
  llvm::raw_string_ostream out(text);
  print(out, graph);
  return text;
}

// Σ w · y, with y the sample's result.
class Objective {
 public:
  Objective(const Sample& sample, const std::vector<Array>& x) : x_(x) {
    Graph g;
    Builder build(g);
    build.set_fold(false);
    llvm::SmallVector<Value*, 4> values;
    for (size_t k = 0; k < x.size(); ++k)
      values.push_back(&g.add_input(name_of(k), {sample.inputs[k].dtype, sample.inputs[k].dims}));
    Value* y = must(sample.make(build, values));
    g.outputs.push_back({"y", y});
    dtype = y->type.dtype;
    bound_ = must(bind_dims(g, named_dims()));
  }
  Array result(const std::vector<Array>& x) const {
    NamedArrays inputs;
    for (size_t k = 0; k < x.size(); ++k) inputs[name_of(k)] = x[k];
    return must(run_reference({bound_.get()}, {inputs}))[0]["y"];
  }
  // Of fourth order: (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h. Differences are taken element by
  // element, so that what the step does not change cancels exactly.
  double slope(const Array& w, size_t k, size_t element, double h) {
    auto at = [&](double step) {
      x_[k].f[element] += step;
      Array y = result(x_);
      x_[k].f[element] -= step;
      return y;
    };
    const double before = x_[k].f[element];
    const Array near = at(h), back = at(-h), far = at(2 * h), far_back = at(-2 * h);
    x_[k].f[element] = before;
    double sum = 0;
    for (size_t i = 0; i < w.f.size(); ++i) sum += w.f[i] * (8 * (near.f[i] - back.f[i]) - (far.f[i] - far_back.f[i]));
    return sum / (12 * h);
  }
  DType dtype;

 private:
  std::vector<Array> x_;
  std::unique_ptr<Graph> bound_;
};

// The gradients that `differentiate` makes; an operand without one has zeros.
struct Differentiated {
  std::vector<Array> gradients;
  std::string text;
};
Differentiated differentiated(const Sample& sample, const std::vector<Array>& x, const Array& w) {
  Graph g;
  Builder build(g);
  build.set_fold(false);
  NamedArrays inputs;
  llvm::SmallVector<Value*, 4> values;
  for (size_t k = 0; k < x.size(); ++k) {
    const Input& input = sample.inputs[k];
    if (is_trained(input)) {
      values.push_back(&g.add_data(name_of(k), to_tensor(x[k], input.dtype)));
      values.back()->is_parameter = true;
      values.back()->type.dims = input.dims;  // named, so that rules are tried with dims that are not numbers
    } else {
      values.push_back(&g.add_input(name_of(k), {input.dtype, input.dims}));
      inputs[name_of(k)] = x[k];
    }
  }
  Value* y = must(sample.make(build, values));
  Value& dy = g.add_input("dy", y->type);
  inputs["dy"] = w;
  const auto made = must(differentiate(g, *y, dy));
  for (auto [parameter, gradient] : made) {
    REQUIRE(gradient->type == parameter->type);
    g.outputs.push_back({parameter->name, gradient});
  }
  if (auto e = verify(g)) throw std::runtime_error(llvm::toString(std::move(e)));
  const auto bound = must(bind_dims(g, named_dims()));
  auto results = must(run_reference({bound.get()}, {inputs}));
  Differentiated out;
  out.text = text_of(g);
  for (size_t k = 0; k < x.size(); ++k) {
    auto it = results[0].find(name_of(k));
    out.gradients.emplace_back().resize(true, x[k].dims);
    if (it != results[0].end()) out.gradients[k] = it->second;
  }
  return out;
}
}  // namespace

TEST_CASE("every op of floating operands has a gradient, or a reason to have none") {
  const std::map<std::string, std::string> without{
      {"equal", "a truth value"},
      {"less", "a truth value"},
      {"less_equal", "a truth value"},
      {"greater", "a truth value"},
      {"greater_equal", "a truth value"},
      {"top_k", "indices"},
      {"is_nan", "a truth value"},
      {"is_inf", "a truth value"},
      {"reduce_prod", "models take products of extents only; one of activations is refused by name"},
      {"all_reduce", "made after differentiation"},
      {"all_gather", "made after differentiation"},
      {"all_to_all", "made after differentiation"},
      {"reduce_scatter", "made after differentiation"},
  };
  for (const OpDef* op : all_ops()) {
    CAPTURE(op->name);
    bool floating = op->collective.has_value();
    for (const Sample& sample : table().of(op->name)) floating |= llvm::any_of(sample.inputs, is_trained);
    if (!floating)
      CHECK((op->gradient == nullptr));
    else
      CHECK((op->gradient != nullptr) != (without.count(op->name) != 0));
  }
}

TEST_CASE("every gradient is what central differences of fourth order say") {
  Random random(seed);
  int64_t checked = 0, kinks = 0, failed = 0;
  for (const OpDef* op : all_ops())
    for (const Sample& sample : table().of(op->name)) {
      if (!op->gradient || !llvm::any_of(sample.inputs, is_trained)) continue;
      const std::vector<Array> x = elements_of(sample, random);
      Objective objective(sample, x);
      if (!is_float(objective.dtype)) continue;
      Array w = objective.result(x);
      for (double& v : w.f) v = std::uniform_real_distribution<double>(0.5, 2)(random) * (random() % 2 ? 1 : -1);
      const Differentiated found = differentiated(sample, x, w);
      for (size_t k = 0; k < x.size(); ++k) {
        REQUIRE(found.gradients[k].dims == x[k].dims);
        for (size_t e = 0; e < x[k].f.size(); ++e) {
          // The error of order h⁴ is below 1e-11 of the derivatives that occur, rounding below 1e-15 / h of the values.
          constexpr double h = 2.5e-4;
          const double expected = objective.slope(w, k, e, h), finer = objective.slope(w, k, e, h / 2);
          const double tolerance = 1e-8 * std::max(1.0, std::abs(expected));
          // Within a step of a kink the two disagree.
          if (std::abs(expected - finer) > tolerance) {
            ++kinks;
            continue;
          }
          ++checked;
          if (std::abs(found.gradients[k].f[e] - expected) <= tolerance || ++failed > 8) continue;
          const std::string message = op->name + ": element " + std::to_string(e) + " of x" + std::to_string(k) +
                                      ": expected " + std::to_string(expected) + ", found " +
                                      std::to_string(found.gradients[k].f[e]) + "\n" + found.text;
          FAIL_CHECK(message);
        }
      }
    }
  MESSAGE(checked, " elements checked, ", kinks, " left out at kinks; seed ", seed);
  CHECK(failed == 0);
  CHECK(kinks * 200 <= checked);
}

namespace {
Array gradient_of(const char* op, const std::vector<Array>& x, const Array& w, Attributes attributes, size_t of = 0) {
  Sample sample{op, {}, [op, attributes](Builder& build, llvm::ArrayRef<Value*> v) {
                  return build.create(op, v, attributes, "y");
                }};
  for (const Array& a : x)
    sample.inputs.push_back({Dims(a.dims.begin(), a.dims.end()), a.is_float ? DType::f64 : DType::i64});
  return differentiated(sample, x, w).gradients[of];
}
Array row(std::initializer_list<double> v) {
  Array out;
  out.resize(true, {int64_t(v.size())});
  out.f = v;
  return out;
}
using Numbers = std::vector<double>;
}  // namespace

TEST_CASE("at a kink a gradient is one that PyTorch, too, could give: no element counts twice") {
  // relu and |x| at 0 as torch: nothing passes.
  CHECK(gradient_of("relu", {row({-1, 0, 2})}, row({3, 5, 7}), {}).f == Numbers{0, 0, 7});
  CHECK(gradient_of("abs", {row({-1, 0, 2})}, row({3, 5, 7}), {}).f == Numbers{-3, 0, 7});
  // A value that lies at its bound passes its gradient, as torch.clamp's does: of equal operands it is the first that
  // takes it.
  for (const char* op : {"max", "min"}) {
    CHECK(gradient_of(op, {row({1, 2}), row({1, 2})}, row({3, 5}), {}, 0).f == Numbers{3, 5});
    CHECK(gradient_of(op, {row({1, 2}), row({1, 2})}, row({3, 5}), {}, 1).f == Numbers{0, 0});
  }
  // torch.amax and amin share among equal extremes.
  const Attributes along{{"axes", llvm::SmallVector<int64_t, 4>{0}}, {"keepdims", int64_t(1)}};
  CHECK(gradient_of("reduce_max", {row({4, 1, 4})}, row({6}), along).f == Numbers{3, 0, 3});
  CHECK(gradient_of("reduce_min", {row({1, 4, 1})}, row({6}), along).f == Numbers{3, 0, 3});
  // What is constant between its jumps.
  for (const char* op : {"sign", "floor", "ceil", "round"})
    CHECK(gradient_of(op, {row({-1.5, 0, 2})}, row({3, 5, 7}), {}).f == Numbers{0, 0, 0});
}

TEST_CASE("rows that several indices choose get the sum of their gradients, indices below 0 count from the end") {
  Array index;
  index.resize(false, {4});
  index.i = {2, 0, -1, 2};
  CHECK(gradient_of("gather", {row({1, 2, 3}), index}, row({1, 10, 100, 1000}), {{"axis", int64_t(0)}}).f ==
        Numbers{10, 0, 1101});
}

TEST_CASE(
    "an op without a gradient between a parameter and the loss is refused by name, and one beside it is not asked") {
  Graph g;
  Builder build(g);
  build.set_fold(false);
  Value& p = g.add_data("p", to_tensor(row({1, 2, 3}), DType::f64));
  p.is_parameter = true;
  Value& x = g.add_input("x", {DType::f64, {3}});
  auto all = [&](Value& v, const char* name) {
    return must(build.create("reduce_prod", {&v},
                             {{"axes", llvm::SmallVector<int64_t, 4>{0}}, {"keepdims", int64_t(0)}}, name));
  };
  SUBCASE("between") {
    build.at("layer/ReduceProd", "ReduceProd");
    Value* y = all(p, "y");
    auto made = differentiate(g, *y, g.add_input("dy", y->type));
    REQUIRE(!made);
    const std::string said = llvm::toString(made.takeError());
    CAPTURE(said);
    CHECK(said.find("layer/ReduceProd") != std::string::npos);
    CHECK(said.find("op 'reduce_prod' has no gradient; a parameter that training changes depends on it") !=
          std::string::npos);
  }
  SUBCASE("beside") {
    Value* y = must(build.create("mul", {&p, all(x, "scale")}, {}, "y"));
    CHECK(must(differentiate(g, *y, g.add_input("dy", y->type))).size() == 1);
  }
  SUBCASE("behind a frozen parameter") {
    Value& frozen = g.add_data("frozen", to_tensor(row({1, 2, 3}), DType::f64));
    frozen.is_parameter = frozen.frozen = true;
    Value* y = must(build.create("mul", {&p, all(frozen, "scale")}, {}, "y"));
    CHECK(must(differentiate(g, *y, g.add_input("dy", y->type))).size() == 1);
  }
}
