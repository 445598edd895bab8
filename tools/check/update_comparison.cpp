#include "tools/check/update_comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/optimizers.h"
#include "runtime/kernels/vector.h"
#include "runtime/reference.h"

namespace optp {
using kernels::vectorised;
namespace {
// As many as the longest formula (Adam's) has, with those of its constants.
constexpr double most_roundings = 16;
// Elements of a parameter that are worked on at a time: few enough for all that is made of them to stay in the cache.
constexpr size_t most_elements = size_t(1) << 13;

// Without errno, which would keep loops from being vectorised; of no negative number.
OPTP_INLINE inline double root(double x) { return __builtin_sqrt(x); }

Array part(const HostArray& whole, size_t from, size_t count) {
  const auto size = size_t(size_bytes(whole.dtype));
  Tensor view;
  view.dtype = whole.dtype;
  view.dims = {int64_t(count)};
  view.bytes = llvm::ArrayRef(whole.bytes).slice(from * size, count * size);
  return to_array(view);
}
// An update treats each element alone: here of so many at a time.
struct UpdateOfSome {
  Graph graph;
  std::set<std::string> of_squares;  // the inputs of states that are
};
llvm::Expected<std::unique_ptr<UpdateOfSome>> update_of(const StepOfParameter& step, const TrainingOptions& options,
                                                        size_t count) {
  auto update = std::make_unique<UpdateOfSome>();
  Graph& graph = update->graph;
  graph.name = "update";
  const std::string& name = step.parameter->name;
  Value& p = graph.add_input(name, {DType::f32, {int64_t(count)}});
  Value& g = graph.add_input(name + ".grad", {DType::f32, {int64_t(count)}});
  TrainingOptions alone = options;
  alone.max_gradient_norm = 0;
  alone.no_decay.clear();
  if (!step.decays) alone.optimizer.weight_decay = 0;
  if (auto e = add_optimizer(graph, ParameterGradient{&p, &g}, alone)) return e;
  for (const Update& u : graph.updates) {
    const StateKind* state = find_optimizer(options.optimizer.name)->find_state(u.kind.state_name);
    if (state && state->of_squares) update->of_squares.insert(u.input);
  }
  return update;
}
// What some elements are, in float64, by the inputs' names: before a step, with the gradient, and what it should make
// of them.
struct SomeElements {
  NamedArrays before, after;
};
llvm::Expected<SomeElements> step_in_float64(const StepOfParameter& step, const UpdateOfSome& update, size_t from,
                                             size_t count) {
  SomeElements some;
  NamedArrays& inputs = some.before;
  Array& gradient = inputs[step.parameter->name + ".grad"] = part(*step.gradient, from, count);
  for (double& x : gradient.f) x *= step.clip;
  for (const auto& [value, array] : step.before) inputs[value] = part(*array, from, count);
  inputs[step_name] = scalar(double(step.step), /*floating=*/false);
  inputs[learning_rate_name] = scalar(step.learning_rate, /*floating=*/true);
  auto out = run_reference({&update.graph}, llvm::ArrayRef(inputs));
  if (!out) return out.takeError();
  for (const Update& u : update.graph.updates)
    if (!u.parameter.empty()) some.after[u.input] = std::move((*out)[0][u.output]);
  return some;
}
// How far each element of a result may be from what was worked out, in float32, as roundings of what it is summed up
// of.
class AllowedErrors {
 public:
  AllowedErrors(const StepOfParameter& step, const TrainingOptions& options)
      : step_(step), options_(with_defaults(options.optimizer)) {
    decay_ = find_optimizer(options_.name)->decays_parameter || !step.decays ? 0 : *options_.weight_decay;
    const auto steps = double(step.step + 1);
    first_correction_ = 1 - std::pow(*options_.beta1, steps);
    second_correction_ = 1 - std::pow(*options_.beta2, steps);
  }
  // Of the input `value`'s next state. One loop for each part of the formula: such loops vectorise.
  llvm::ArrayRef<double> of(const SomeElements& some, llvm::StringRef value, bool is_of_squares) {
    const std::string& name = step_.parameter->name;
    const bool is_parameter = value == name;
    const double *g = values(some.before, name + ".grad"), *p = values(some.before, name);
    const double *was = values(some.before, value), *wanted = values(some.after, value);
    const size_t n = some.before.find(name)->second.f.size();
    allowed_.resize(n);
    double* sum = allowed_.data();
    vectorised([=, decay = decay_]() OPTP_LAMBDA {
      for (size_t k = 0; k < n; ++k) sum[k] = std::fabs(g[k]) + decay * std::fabs(p[k]);
      // What is added up may cancel; its roundings stay.
      if (is_of_squares)
        for (size_t k = 0; k < n; ++k) sum[k] *= sum[k];
    });
    if (is_parameter || value == name + ".momentum_buffer") divide_as_rmsprop(some, sum, n);
    if (is_parameter) add_momentum(some, sum, n), divide_as_adam(some, sum, n);
    vectorised([=, factor = is_parameter ? step_.learning_rate : 1]() OPTP_LAMBDA {
      for (size_t k = 0; k < n; ++k)
        sum[k] =
            most_roundings * float32_rounding * (std::fabs(was[k]) + std::fabs(wanted[k]) + factor * sum[k]) + 1e-40;
    });
    return allowed_;
  }

 private:
  static const double* values(const NamedArrays& arrays, llvm::StringRef name) {
    const auto it = arrays.find(name.str());
    return it == arrays.end() ? nullptr : it->second.f.data();
  }
  // RMSprop divides the gradient, here the sum of its addends' sizes, by the root of its squares' mean, of which a
  // centered one takes away the square of its mean: what is left may be all rounding.
  void divide_as_rmsprop(const SomeElements& some, double* sum, size_t n) const {
    const std::string& name = step_.parameter->name;
    const double *gradients = values(some.before, name + ".grad"), *parameters = values(some.before, name);
    const double *squares = values(some.after, name + ".square_avg"), *means = values(some.after, name + ".grad_avg");
    if (!squares) return;
    vectorised([=, decay = decay_, alpha = *options_.alpha, epsilon = *options_.epsilon]() OPTP_LAMBDA {
      constexpr double rounding = most_roundings * float32_rounding;
      auto divide = [=](size_t k, double mean) OPTP_LAMBDA {
        const double g = gradients[k] + decay * parameters[k], square = squares[k];
        const double left = std::max(0.0, square - mean * mean);
        const double error = rounding * (square + mean * mean + (1 - alpha) * sum[k] * sum[k]);
        const double divisor = root(left) + epsilon, least = root(std::max(0.0, left - error)) + epsilon;
        sum[k] = sum[k] / least + std::fabs(g) * (1 / least - 1 / divisor) / rounding;
      };
      if (means)
        for (size_t k = 0; k < n; ++k) divide(k, means[k]);
      else
        for (size_t k = 0; k < n; ++k) divide(k, 0);
    });
  }
  void add_momentum(const SomeElements& some, double* sum, size_t n) const {
    const std::string buffer = step_.parameter->name + ".momentum_buffer";
    const double *before = values(some.before, buffer), *after = values(some.after, buffer);
    if (!before) return;
    vectorised([=]() OPTP_LAMBDA {
      for (size_t k = 0; k < n; ++k) sum[k] += std::fabs(before[k]) + std::fabs(after[k]);
    });
  }
  // Adam divides the sum of these by what it says their size is.
  void divide_as_adam(const SomeElements& some, double* sum, size_t n) const {
    const std::string& name = step_.parameter->name;
    const double *first = values(some.before, name + ".exp_avg"), *second = values(some.after, name + ".exp_avg_sq");
    if (!first) return;
    vectorised([=, first_by = 1 / first_correction_, second_by = 1 / second_correction_, epsilon = *options_.epsilon]()
                   OPTP_LAMBDA {
                     for (size_t k = 0; k < n; ++k)
                       sum[k] = (sum[k] + std::fabs(first[k])) * first_by / (root(second[k] * second_by) + epsilon);
                   });
  }

  const StepOfParameter& step_;
  const OptimizerOptions options_;
  double decay_, first_correction_, second_correction_;
  std::vector<double> allowed_;
};
// How many times the allowed error each element is off, and whether one is off by more than `known`, or is no number.
bool any_beyond(double known, llvm::ArrayRef<double> found, llvm::ArrayRef<double> wanted,
                llvm::ArrayRef<double> allowed, llvm::MutableArrayRef<double> ratios) {
  int64_t beyond = 0;
  vectorised([&, x = found.data(), y = wanted.data(), z = allowed.data(), to = ratios.data(), n = found.size()]()
                 OPTP_LAMBDA {
                   int64_t count = 0;
                   for (size_t k = 0; k < n; ++k) {
                     to[k] = std::fabs(x[k] - y[k]) / z[k];
                     count += !(to[k] <= known);
                   }
                   beyond = count;
                 });
  return beyond > 0;
}
}  // namespace

llvm::Expected<std::optional<Diagnostic>> compare_update(const StepOfParameter& step, const TrainingOptions& options,
                                                         Row& row) {
  const auto elements = size_t(count_of(step.gradient->dims));
  std::optional<Diagnostic> fault;
  std::unique_ptr<UpdateOfSome> update;
  AllowedErrors allowed_errors(step, options);
  std::vector<double> ratios;

  for (size_t from = 0; from < elements; from += most_elements) {
    const size_t count = std::min(most_elements, elements - from);
    if (!update || count < most_elements) {
      auto made = update_of(step, options, count);
      if (!made) return made.takeError();
      update = std::move(*made);
    }
    auto some = step_in_float64(step, *update, from, count);
    if (!some) return some.takeError();
    for (const auto& [value, wanted] : some->after) {
      const HostArray& after = *step.after.find(value)->second;
      const Array now = part(after, from, count);
      const llvm::ArrayRef<double> allowed = allowed_errors.of(*some, value, update->of_squares.contains(value));
      row.values += from == 0;
      row.elements += wanted.elements();
      ratios.resize(count);
      if (!any_beyond(row.error, now.f, wanted.f, allowed, ratios)) continue;
      for (double& ratio : ratios)
        if (!(ratio < INFINITY)) ratio = INFINITY;  // NaN is infinitely far
      const auto worst = size_t(std::max_element(ratios.begin(), ratios.end()) - ratios.begin());
      const double most = ratios[worst];
      row.error = std::max(row.error, most);
      if (!(most > 1) || fault) continue;
      fault = error(Code::difference)
                  .what("step " + llvm::Twine(step.step + 1) + ", '" + value + "', index " +
                        index_text(int64_t(from + worst), after.dims))
                  .expected(nine_digits(wanted.f[worst]))
                  .found(nine_digits(now.f[worst]))
                  .about({.tensor = value});
    }
  }
  return fault;
}
}  // namespace optp
