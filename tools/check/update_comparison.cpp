#include "tools/check/update_comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/optimizers.h"
#include "runtime/reference.h"

namespace optp {
namespace {
// As many as the longest formula (Adam's) has, with those of its constants.
constexpr double most_roundings = 16;
// Elements of a parameter that are worked on at a time: few enough for all that is made of them to stay in the cache.
constexpr size_t most_elements = size_t(1) << 13;

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
// What some elements are, in float64, by the inputs' names: before a step, and what it should make of them.
struct SomeElements {
  Array gradient;
  NamedArrays before, after;
};
llvm::Expected<SomeElements> step_in_float64(const StepOfParameter& step, const UpdateOfSome& update, size_t from,
                                             size_t count) {
  SomeElements some;
  some.gradient = part(*step.gradient, from, count);
  for (double& x : some.gradient.f) x *= step.clip;
  for (const auto& [value, array] : step.before) some.before[value] = part(*array, from, count);
  NamedArrays inputs = some.before;
  inputs[step.parameter->name + ".grad"] = some.gradient;
  inputs[step_name] = scalar(double(step.step), /*floating=*/false);
  inputs[learning_rate_name] = scalar(step.learning_rate, /*floating=*/true);
  auto out = run_reference({&update.graph}, {inputs});
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
    const double *g = some.gradient.f.data(), *p = some.before.find(name)->second.f.data();
    const double *was = some.before.find(value)->second.f.data(), *wanted = some.after.find(value)->second.f.data();
    const size_t n = some.gradient.f.size();
    std::vector<double>& sum = allowed_;
    sum.resize(n);
    for (size_t k = 0; k < n; ++k) sum[k] = std::fabs(g[k]) + decay_ * std::fabs(p[k]);
    // What is added up may cancel; its roundings stay.
    if (is_of_squares)
      for (double& x : sum) x *= x;
    auto state = [&](const NamedArrays& values, const char* kind) -> const double* {
      const auto it = is_parameter ? values.find(name + kind) : values.end();
      return it == values.end() ? nullptr : it->second.f.data();
    };
    if (is_parameter || value == name + ".momentum_buffer") divide_as_rmsprop(some, sum);
    if (const double* buffer = state(some.before, ".momentum_buffer")) {
      const double* next = state(some.after, ".momentum_buffer");
      for (size_t k = 0; k < n; ++k) sum[k] += std::fabs(buffer[k]) + std::fabs(next[k]);
    }
    // Adam divides the sum of these by what it says their size is.
    if (const double* first = state(some.before, ".exp_avg")) {
      const double* second = state(some.after, ".exp_avg_sq");
      for (size_t k = 0; k < n; ++k)
        sum[k] = (sum[k] + std::fabs(first[k])) / first_correction_ /
                 (std::sqrt(second[k] / second_correction_) + *options_.epsilon);
    }
    const double factor = is_parameter ? step_.learning_rate : 1;
    for (size_t k = 0; k < n; ++k)
      sum[k] = most_roundings * float32_rounding * (std::fabs(was[k]) + std::fabs(wanted[k]) + factor * sum[k]) + 1e-40;
    return sum;
  }

 private:
  // RMSprop divides the gradient, here the sum of its addends' sizes, by the root of its squares' mean, of which a
  // centered one takes away the square of its mean: what is left may be all rounding.
  void divide_as_rmsprop(const SomeElements& some, std::vector<double>& sum) const {
    const std::string& name = step_.parameter->name;
    const auto squares = some.after.find(name + ".square_avg"), means = some.after.find(name + ".grad_avg");
    if (squares == some.after.end()) return;
    constexpr double rounding = most_roundings * float32_rounding;
    for (size_t k = 0; k < sum.size(); ++k) {
      const double g = some.gradient.f[k] + decay_ * some.before.find(name)->second.f[k];
      const double square = squares->second.f[k], mean = means == some.after.end() ? 0 : means->second.f[k];
      const double left = std::max(0.0, square - mean * mean);
      const double error = rounding * (square + mean * mean + (1 - *options_.alpha) * sum[k] * sum[k]);
      const double divisor = std::sqrt(left) + *options_.epsilon,
                   least = std::sqrt(std::max(0.0, left - error)) + *options_.epsilon;
      sum[k] = sum[k] / least + std::fabs(g) * (1 / least - 1 / divisor) / rounding;
    }
  }

  const StepOfParameter& step_;
  const OptimizerOptions options_;
  double decay_, first_correction_, second_correction_;
  std::vector<double> allowed_;
};
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
      bool is_finite = true;
      for (size_t k = 0; k < count; ++k) {
        ratios[k] = std::fabs(now.f[k] - wanted.f[k]) / allowed[k];
        is_finite &= ratios[k] < INFINITY;
      }
      if (!is_finite)
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
