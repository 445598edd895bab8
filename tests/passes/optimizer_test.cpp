// Optimizers against torch.optim's documented algorithms, written out here once more as plain loops: several steps in
// float64 arithmetic by the reference interpreter, and in float32 by the runtime.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <set>

#include "frontend/ir/builder.h"
#include "frontend/ir/host_array.h"
#include "passes/optimizers.h"
#include "passes/training.h"
#include "runtime/executable.h"
#include "runtime/reference.h"
#include "tests/must.h"

using namespace optp;

namespace {
using Numbers = std::vector<double>;

struct Case {
  std::string name;
  TrainingOptions options;
  double learning_rate;
  std::set<size_t> undecayed;  // parameters that the options' patterns match: PyTorch's second group, of weight_decay 0
};
TrainingOptions options(OptimizerOptions o, double clip = 0, std::vector<std::string> no_decay = {}) {
  TrainingOptions out;
  out.no_decay = std::move(no_decay);
  out.optimizer = std::move(o);
  out.max_gradient_norm = clip;
  return out;
}
// Epsilons are large enough to be seen, so that one that stands in another place is, too.
std::vector<Case> cases() {
  return {
      {"sgd", options({.name = "sgd"}), 0.05},
      {"sgd, decay", options({.name = "sgd", .weight_decay = 0.1}), 0.05},
      {"sgd, momentum", options({.name = "sgd", .momentum = 0.9}), 0.05},
      {"sgd, momentum, decay", options({.name = "sgd", .momentum = 0.5, .weight_decay = 0.02}), 0.1},
      {"sgd, nesterov, decay", options({.name = "sgd", .momentum = 0.9, .weight_decay = 0.01, .nesterov = true}), 0.05},
      {"adam, defaults", options({.name = "adam"}), 1e-3},
      {"adam, decay", options({.name = "adam", .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-2}),
       0.01},
      {"adam, no memory", options({.name = "adam", .beta1 = 0.0, .beta2 = 0.0, .epsilon = 1e-3}), 0.01},
      {"adamw, defaults", options({.name = "adamw"}), 1e-3},
      {"adamw, decay", options({.name = "adamw", .weight_decay = 0.3, .beta1 = 0.7, .beta2 = 0.9, .epsilon = 1e-2}),
       0.02},
      {"rmsprop, defaults", options({.name = "rmsprop"}), 1e-2},
      {"rmsprop, decay", options({.name = "rmsprop", .weight_decay = 0.1, .epsilon = 1e-2, .alpha = 0.8}), 0.01},
      {"rmsprop, centered", options({.name = "rmsprop", .epsilon = 1e-3, .alpha = 0.9, .centered = true}), 0.01},
      {"rmsprop, momentum", options({.name = "rmsprop", .momentum = 0.9, .epsilon = 1e-3, .alpha = 0.9}), 0.01},
      {"rmsprop, centered, momentum, decay",
       options(
           {.name = "rmsprop", .momentum = 0.5, .weight_decay = 0.05, .epsilon = 1e-2, .alpha = 0.7, .centered = true}),
       0.02},
      {"sgd, clipped", options({.name = "sgd", .momentum = 0.9}, 0.5), 0.05},
      {"adamw, clipped", options({.name = "adamw", .epsilon = 1e-2}, 1.0), 0.01},
      {"adamw, one group without decay", options({.name = "adamw", .weight_decay = 0.3}, 0, {"p1"}), 0.02, {1}},
      {"adamw, no group with decay", options({.name = "adamw", .weight_decay = 0.3}, 0, {"p*"}), 0.02, {0, 1}},
      {"adam, one group without decay", options({.name = "adam", .weight_decay = 0.1}, 0, {"q", "*0"}), 0.01, {0}},
      {"sgd, one group without decay",
       options({.name = "sgd", .momentum = 0.5, .weight_decay = 0.2}, 0, {"[p]1"}),
       0.1,
       {1}},
      // Far below its bound a gradient stays as it is.
      {"rmsprop, not clipped", options({.name = "rmsprop", .epsilon = 1e-2}, 1e6), 0.01},
  };
}

// torch.nn.utils.clip_grad_norm_: the coefficient max_norm / (norm + 1e-6), at most 1.
double clip_coefficient(const std::vector<Numbers>& gradients, double max_norm) {
  if (max_norm == 0) return 1;
  double squares = 0;
  for (const Numbers& g : gradients)
    for (double x : g) squares += x * x;
  return std::min(1.0, max_norm / (std::sqrt(squares) + 1e-6));
}

// One element: the pseudocode of torch.optim.SGD, Adam, AdamW and RMSprop, with maximize, amsgrad and dampening off.
struct Element {
  double theta;
  std::map<std::string, double> state;

  void step(const OptimizerOptions& o, double lr, int64_t t, double g) {
    const double decay = o.weight_decay.value_or(o.name == "adamw" ? 1e-2 : 0), mu = o.momentum.value_or(0);
    if (o.name == "adamw")
      theta = theta - lr * decay * theta;
    else
      g = g + decay * theta;
    if (o.name == "sgd") {
      if (mu != 0) {
        double& b = state["momentum_buffer"];
        b = t > 1 ? mu * b + g : g;
        g = o.nesterov ? g + mu * b : b;
      }
      theta = theta - lr * g;
    } else if (o.name == "rmsprop") {
      const double alpha = o.alpha.value_or(0.99);
      double& v = state["square_avg"];
      v = alpha * v + (1 - alpha) * g * g;
      double shifted = v;
      if (o.centered) {
        double& mean = state["grad_avg"];
        mean = mean * alpha + (1 - alpha) * g;
        shifted = shifted - mean * mean;
      }
      const double direction = g / (std::sqrt(shifted) + o.epsilon.value_or(1e-8));
      if (mu > 0) {
        double& b = state["momentum_buffer"];
        b = mu * b + direction;
        theta = theta - lr * b;
      } else {
        theta = theta - lr * direction;
      }
    } else {
      const double beta1 = o.beta1.value_or(0.9), beta2 = o.beta2.value_or(0.999);
      double &m = state["exp_avg"], &v = state["exp_avg_sq"];
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const double m_hat = m / (1 - std::pow(beta1, double(t))), v_hat = v / (1 - std::pow(beta2, double(t)));
      theta = theta - lr * m_hat / (std::sqrt(v_hat) + o.epsilon.value_or(1e-8));
    }
  }
};

// Two parameters of different shapes, whose gradients are given. What is a step's result is named by its input.
struct Step {
  Graph graph;
  std::vector<std::vector<int64_t>> shapes{{3, 4}, {5}};
  std::vector<Numbers> start;

  explicit Step(const TrainingOptions& o) {
    std::mt19937 random(606);
    std::normal_distribution<double> normal(0, 0.5);
    std::vector<ParameterGradient> gradients;
    for (size_t k = 0; k < shapes.size(); ++k) {
      Array a;
      a.resize(true, shapes[k]);
      for (double& x : a.f) x = float(normal(random));
      start.push_back(a.f);
      Value& p = graph.add_data("p" + std::to_string(k), to_tensor(a, DType::f32));
      p.is_parameter = true;
      gradients.push_back({&p, &graph.add_input("g" + std::to_string(k), p.type)});
    }
    if (auto e = add_optimizer(graph, gradients, o)) throw std::runtime_error(llvm::toString(std::move(e)));
    if (auto e = verify(graph)) throw std::runtime_error(llvm::toString(std::move(e)));
    for (const auto& p : gradients) graph.make_input(*p.parameter);
  }
};
constexpr int64_t steps = 5;
Numbers gradient(size_t parameter, int64_t step, size_t n) {
  std::mt19937 random(unsigned(7 * step) + unsigned(parameter));
  std::normal_distribution<double> normal(0.1, 1);
  Numbers out(n, 0);
  for (double& x : out) x = float(normal(random));
  return out;
}
using Values = std::map<std::string, Numbers>;

// All that a step updates, after each of the steps, by the names that the graph gives it.
std::vector<Values> expected(const Case& c, const Step& step) {
  std::vector<std::vector<Element>> elements;
  for (const Numbers& p : step.start) {
    elements.emplace_back();
    for (double x : p) elements.back().push_back({x, {}});
  }
  std::vector<Values> out;
  const double lr = float(c.learning_rate);  // the step takes a float32
  for (int64_t t = 1; t <= steps; ++t) {
    std::vector<Numbers> gradients;
    for (size_t k = 0; k < elements.size(); ++k) gradients.push_back(gradient(k, t, elements[k].size()));
    const double clip = clip_coefficient(gradients, c.options.max_gradient_norm);
    Values& after = out.emplace_back();
    after["step"] = {double(t)};
    for (size_t k = 0; k < elements.size(); ++k)
      for (size_t e = 0; e < elements[k].size(); ++e) {
        OptimizerOptions group = c.options.optimizer;
        if (c.undecayed.contains(k)) group.weight_decay = 0;
        elements[k][e].step(group, lr, t, gradients[k][e] * clip);
        const std::string name = "p" + std::to_string(k);
        after[name].push_back(elements[k][e].theta);
        for (const auto& [kind, x] : elements[k][e].state) after[name + "." + kind].push_back(x);
      }
  }
  return out;
}
double largest(const Numbers& v) {
  double out = 0;
  for (double x : v) out = std::max(out, std::abs(x));
  return out;
}
// The largest difference of any value from what is expected, in units of that value's largest element.
double difference(const Values& found, const Values& wanted) {
  double out = 0;
  for (const auto& [name, w] : wanted) {
    auto it = found.find(name);
    if (it == found.end() || it->second.size() != w.size()) return INFINITY;
    for (size_t k = 0; k < w.size(); ++k) {
      const double d = std::abs(it->second[k] - w[k]) / std::max(largest(w), 1e-30);
      out = std::isnan(d) ? INFINITY : std::max(out, d);
    }
  }
  return found.size() == wanted.size() ? out : INFINITY;
}
Array array_of(const Numbers& v, llvm::ArrayRef<Dim> dims, bool floating = true) {
  Array a;
  llvm::SmallVector<int64_t, 4> numbers;
  for (Dim d : dims) numbers.push_back(*d.constant());
  a.resize(floating, numbers);
  for (size_t k = 0; k < v.size(); ++k) floating ? void(a.f[k] = v[k]) : void(a.i[k] = int64_t(v[k]));
  return a;
}
Numbers numbers_of(const Array& a) {
  Numbers out;
  for (int64_t k = 0; k < a.elements(); ++k) out.push_back(a.number(k));
  return out;
}

using Run = std::function<NamedArrays(const Graph&, const NamedArrays&)>;
std::vector<Values> found(const Case& c, const Step& step, const Run& run) {
  NamedArrays held;
  for (const Value* v : step.graph.inputs)
    held[v->name] = array_of({}, v->type.dims, is_float(v->type.dtype));  // zeros
  for (size_t k = 0; k < step.start.size(); ++k) held["p" + std::to_string(k)].f = step.start[k];
  held["learning_rate"].f = {double(float(c.learning_rate))};
  std::vector<Values> out;
  for (int64_t t = 1; t <= steps; ++t) {
    for (size_t k = 0; k < step.start.size(); ++k)
      held["g" + std::to_string(k)].f = gradient(k, t, step.start[k].size());
    NamedArrays results = run(step.graph, held);
    Values& after = out.emplace_back();
    for (const Update& u : step.graph.updates) {
      held[u.input] = results[u.output];
      after[u.input] = numbers_of(held[u.input]);
    }
  }
  return out;
}
}  // namespace

TEST_CASE("every optimizer with every option steps as torch.optim's algorithms do, in float64 arithmetic") {
  for (const Case& c : cases()) {
    const Step step(c.options);
    const auto wanted = expected(c, step);
    const auto got = found(
        c, step, [](const Graph& g, const NamedArrays& inputs) { return must(run_reference({&g}, {inputs}))[0]; });
    for (size_t t = 0; t < wanted.size(); ++t) {
      CAPTURE(c.name);
      CAPTURE(t);
      // The graph's constants (betas, decay, epsilon …) are float32: each within 2⁻²⁴ of the number, and a step takes
      // at most five of them one after the other. 1 - β is rounded as such, not as the difference of rounded numbers.
      CHECK(difference(got[t], wanted[t]) <= double(t + 1) * 5 * 0x1p-24);
    }
  }
}

TEST_CASE("the runtime's steps in float32 are within a few roundings of the exact ones") {
  for (const Case& c : cases()) {
    const Step step(c.options);
    const auto wanted = expected(c, step);
    auto executable = must(Executable::compile(step.graph));
    const auto got = found(c, step, [&](const Graph& g, const NamedArrays& inputs) {
      HostArrays arrays;
      for (const Value* v : g.inputs) arrays[v->name] = host_array(inputs.find(v->name)->second, v->type.dtype);
      HostArrays outputs;
      if (auto e = executable->run(inputs_of(arrays), outputs)) throw std::runtime_error(llvm::toString(std::move(e)));
      NamedArrays out;
      for (const auto& [name, a] : outputs) out[name] = to_array(a);
      return out;
    });
    for (size_t t = 0; t < wanted.size(); ++t) {
      CAPTURE(c.name);
      CAPTURE(t);
      // Beside the constants' roundings each step adds those of some ten operations, half an ulp of the largest element
      // each; a centered variance is a difference, whose roundings are seen through a square root of what is left.
      CHECK(difference(got[t], wanted[t]) <= double(t + 1) * (c.options.optimizer.centered ? 64 : 16) * 0x1p-24);
    }
  }
}

TEST_CASE("an optimizer's state has PyTorch's names, one of each kind a parameter, and starts from nothing") {
  auto kinds = [](const TrainingOptions& o) {
    const Step step(o);
    std::vector<std::string> out;
    for (const Update& u : step.graph.updates) {
      CHECK(u.output == u.input + ".next");
      CHECK((u.kind.state_name.empty() || find_optimizer(o.optimizer.name)->find_state(u.kind.state_name)));
      if (u.parameter == "p0") out.push_back(u.kind.text());
    }
    return out;
  };
  using Kinds = std::vector<std::string>;
  CHECK(kinds(options({.name = "sgd"})) == Kinds{"parameter"});
  CHECK(kinds(options({.name = "sgd", .momentum = 0.9})) == Kinds{"momentum_buffer", "parameter"});
  CHECK(kinds(options({.name = "adam"})) == Kinds{"exp_avg", "exp_avg_sq", "parameter"});
  CHECK(kinds(options({.name = "adamw"})) == Kinds{"exp_avg", "exp_avg_sq", "parameter"});
  CHECK(kinds(options({.name = "rmsprop"})) == Kinds{"square_avg", "parameter"});
  CHECK(kinds(options({.name = "rmsprop", .momentum = 0.9, .centered = true})) ==
        Kinds{"square_avg", "grad_avg", "momentum_buffer", "parameter"});
}

TEST_CASE("options that an optimizer does not have, or numbers out of their range, are refused") {
  const std::vector<std::pair<OptimizerOptions, std::string>> refused{
      {{.name = "adagrad"}, "--optimizer 'adagrad': expected sgd, adam, adamw or rmsprop"},
      {{.name = "sgd", .momentum = -0.1}, "--momentum: expected a finite float32 number of at least 0, found -0.1"},
      {{.name = "sgd", .momentum = NAN}, "--momentum: expected a finite float32 number of at least 0, found nan"},
      {{.name = "sgd", .weight_decay = -1.0},
       "--weight-decay: expected a finite float32 number of at least 0, found -1"},
      {{.name = "adam", .beta1 = 1.0}, "--betas: expected a number of at least 0 and below 1, found 1"},
      {{.name = "adam", .beta2 = -0.5}, "--betas: expected a number of at least 0 and below 1, found -0.5"},
      {{.name = "adamw", .epsilon = -1.0}, "--eps: expected a finite float32 number of at least 0, found -1"},
      {{.name = "rmsprop", .alpha = -1.5}, "--alpha: expected a number from 0 to 1, found -1.5"},
      {{.name = "sgd", .nesterov = true}, "--nesterov: needs sgd with --momentum above 0"},
      {{.name = "rmsprop", .momentum = 0.9, .nesterov = true}, "--nesterov: needs sgd with --momentum above 0"},
      {{.name = "adam", .centered = true}, "--centered: only rmsprop has it"},
      {{.name = "adam", .momentum = 0.9}, "--momentum: only sgd or rmsprop have it"},
      {{.name = "sgd", .beta1 = 0.8}, "--betas: only adam or adamw have it"},
      {{.name = "rmsprop", .beta2 = 0.95}, "--betas: only adam or adamw have it"},
      {{.name = "sgd", .epsilon = 1e-6}, "--eps: only adam, adamw or rmsprop have it"},
      {{.name = "adamw", .alpha = 0.5}, "--alpha: only rmsprop has it"},
  };
  for (const auto& [o, message] : refused) {
    Graph g;
    auto e = add_optimizer(g, {}, options(o));
    CHECK(llvm::toString(std::move(e)) == message);
  }
}

TEST_CASE("numbers that no optimizer takes are told by flag, expected and found") {
  auto fault = [](auto set) {
    TrainingOptions o;
    set(o);
    auto outside = outside_domain(o);
    return outside ? std::string(outside->flag) + ": expected " + outside->expected + ", found " + outside->found : "";
  };
  const std::string finite = ": expected a finite float32 number of at least 0, found ";
  CHECK(fault([](auto&) {}) == "");
  for (double x : {0.0, 1e-30, 1.0, 3e38}) CHECK(fault([&](auto& o) { o.learning_rate = x; }) == "");
  for (auto [x, shown] : {std::pair{-1.0, "-1"},
                          {NAN, "nan"},
                          {-NAN, "nan"},
                          {INFINITY, "inf"},
                          {-INFINITY, "-inf"},
                          {1e39, "1e+39"},
                          {-1e-30, "-1e-30"}}) {
    CHECK(fault([&](auto& o) { o.learning_rate = x; }) == "--lr" + finite + shown);
    CHECK(fault([&](auto& o) { o.max_gradient_norm = x; }) == "--max-grad-norm" + finite + shown);
    CHECK(fault([&](auto& o) { o.optimizer.momentum = x; }) == "--momentum" + finite + shown);
    CHECK(fault([&](auto& o) { o.optimizer.weight_decay = x; }) == "--weight-decay" + finite + shown);
    CHECK(fault([&](auto& o) { o.optimizer.epsilon = x; }) == "--eps" + finite + shown);
    CHECK(fault([&](auto& o) { o.optimizer.alpha = x; }) ==
          "--alpha: expected a number from 0 to 1, found " + std::string(shown));
    CHECK(fault([&](auto& o) { o.optimizer.beta1 = x; }) ==
          "--betas: expected a number of at least 0 and below 1, found " + std::string(shown));
    CHECK(fault([&](auto& o) { o.optimizer.beta2 = x; }) ==
          "--betas: expected a number of at least 0 and below 1, found " + std::string(shown));
  }
  CHECK(fault([](auto& o) { o.optimizer.beta2 = 1; }) ==
        "--betas: expected a number of at least 0 and below 1, found 1");
}
