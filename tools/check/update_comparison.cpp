#include "tools/check/update_comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/optimizers.h"

namespace optp {
namespace {
// As many as the longest formula (Adam's) has, with those of its constants.
constexpr double most_roundings = 16;
// Elements of a parameter that are worked on at a time: few enough to stay in the cache.
constexpr size_t most_elements = size_t(1) << 16;

Array part(const Array& whole, size_t from, size_t count) {
  Array out;
  out.resize(/*floating=*/true, {int64_t(count)});
  std::copy_n(whole.f.begin() + long(from), count, out.f.begin());
  return out;
}
struct ExpectedUpdate {
  NamedArrays after;                 // by the inputs' names
  std::set<std::string> of_squares;  // of these
};
// An update treats each element alone: of `count` elements from `from`.
llvm::Expected<ExpectedUpdate> expected_update(const StepOfParameter& step, const TrainingOptions& options, size_t from,
                                               size_t count) {
  Graph graph;
  graph.name = "update";
  const std::string& name = step.parameter->name;
  Value& p = graph.add_input(name, {DType::f32, {int64_t(count)}});
  Value& g = graph.add_input(name + ".grad", {DType::f32, {int64_t(count)}});
  TrainingOptions alone = options;
  alone.max_gradient_norm = 0;
  alone.no_decay.clear();
  if (!step.decays) alone.optimizer.weight_decay = 0;
  if (auto e = add_optimizer(graph, ParameterGradient{&p, &g}, alone)) return e;
  NamedArrays inputs;
  for (const auto& [value, array] : step.before) inputs[value] = part(array, from, count);
  inputs[g.name] = part(step.gradient, from, count);
  inputs[step_name] = scalar(double(step.step), /*floating=*/false);
  inputs[learning_rate_name] = scalar(step.learning_rate, /*floating=*/true);
  auto out = run_reference({&graph}, {inputs});
  if (!out) return out.takeError();
  ExpectedUpdate update;
  for (const Update& u : graph.updates) {
    if (u.parameter.empty()) continue;
    update.after[u.input] = std::move((*out)[0][u.output]);
    const StateKind* state = find_optimizer(options.optimizer.name)->find_state(u.kind.state_name);
    if (state && state->of_squares) update.of_squares.insert(u.input);
  }
  return update;
}
}  // namespace

llvm::Expected<std::optional<Diagnostic>> compare_update(const StepOfParameter& step, const TrainingOptions& options,
                                                         Row& row) {
  const std::string& name = step.parameter->name;
  const OptimizerOptions o = with_defaults(options.optimizer);
  const double decay = find_optimizer(o.name)->decays_parameter || !step.decays ? 0 : *o.weight_decay;
  const auto steps = double(step.step + 1);
  const double first_correction = 1 - std::pow(*o.beta1, steps), second_correction = 1 - std::pow(*o.beta2, steps);
  const Array& parameter = step.before.find(name)->second;
  const size_t elements = parameter.f.size();
  std::optional<Diagnostic> fault;

  for (size_t from = 0; from < elements; from += most_elements) {
    auto expected = expected_update(step, options, from, std::min(most_elements, elements - from));
    if (!expected) return expected.takeError();
    for (const auto& [value, wanted] : expected->after) {
      const Array &now = step.after.find(value)->second, &was = step.before.find(value)->second;
      const bool is_parameter = value == name;
      const bool second = expected->of_squares.count(value) > 0;
      auto state = [&](const NamedArrays& values, const char* kind, size_t at) -> const double* {
        const auto it = is_parameter ? values.find(name + kind) : values.end();
        return it == values.end() ? nullptr : it->second.f.data() + at;
      };
      const double *buffer_was = state(step.before, ".momentum_buffer", from),
                   *buffer_now = state(expected->after, ".momentum_buffer", 0);
      const double *first_was = state(step.before, ".exp_avg", from),
                   *second_now = state(expected->after, ".exp_avg_sq", 0);
      row.values += from == 0;
      row.elements += wanted.elements();
      double most = 0;
      size_t worst = 0;
      for (size_t k = 0; k < wanted.f.size(); ++k) {
        const double pull = std::fabs(step.gradient.f[from + k]) + decay * std::fabs(parameter.f[from + k]);
        // What is added up may cancel; its roundings stay.
        double addends = second ? pull * pull : pull;
        if (buffer_was) addends += std::fabs(buffer_was[k]) + std::fabs(buffer_now[k]);
        // Adam divides the sum of these by what it says their size is.
        if (first_was)
          addends = (addends + std::fabs(first_was[k])) / first_correction /
                    (std::sqrt(second_now[k] / second_correction) + *o.epsilon);
        if (is_parameter) addends *= step.learning_rate;
        const double found = now.f[from + k];
        const double allowed =
            most_roundings * float32_rounding * (std::fabs(was.f[from + k]) + std::fabs(wanted.f[k]) + addends) + 1e-40;
        const double ratio = std::isfinite(found) ? std::fabs(found - wanted.f[k]) / allowed : INFINITY;
        if (ratio > most) most = ratio, worst = k;
      }
      row.error = std::max(row.error, most);
      if (!(most > 1) || fault) continue;
      fault = error(Code::difference)
                  .what("step " + llvm::Twine(step.step + 1) + ", '" + value + "', index " +
                        index_text(int64_t(from + worst), now.dims))
                  .expected(nine_digits(wanted.f[worst]))
                  .found(nine_digits(now.f[from + worst]))
                  .about({.tensor = value});
    }
  }
  return fault;
}
}  // namespace optp
