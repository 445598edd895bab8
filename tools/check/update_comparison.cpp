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
  some.gradient = part(step.gradient, from, count);
  for (double& x : some.gradient.f) x *= step.clip;
  for (const auto& [value, array] : step.before) some.before[value] = part(array, from, count);
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
}  // namespace

llvm::Expected<std::optional<Diagnostic>> compare_update(const StepOfParameter& step, const TrainingOptions& options,
                                                         Row& row) {
  const std::string& name = step.parameter->name;
  const OptimizerOptions o = with_defaults(options.optimizer);
  const double decay = find_optimizer(o.name)->decays_parameter || !step.decays ? 0 : *o.weight_decay;
  const auto steps = double(step.step + 1);
  const double first_correction = 1 - std::pow(*o.beta1, steps), second_correction = 1 - std::pow(*o.beta2, steps);
  const auto elements = size_t(count_of(step.gradient.dims));
  std::optional<Diagnostic> fault;
  std::unique_ptr<UpdateOfSome> update;

  for (size_t from = 0; from < elements; from += most_elements) {
    const size_t count = std::min(most_elements, elements - from);
    if (!update || count < most_elements) {
      auto made = update_of(step, options, count);
      if (!made) return made.takeError();
      update = std::move(*made);
    }
    auto some = step_in_float64(step, *update, from, count);
    if (!some) return some.takeError();
    const Array& parameter = some->before.find(name)->second;
    for (const auto& [value, wanted] : some->after) {
      const HostArray& after = step.after.find(value)->second;
      const Array now = part(after, from, count), &was = some->before.find(value)->second;
      const bool is_parameter = value == name;
      const bool second = update->of_squares.count(value) > 0;
      auto state = [&](const NamedArrays& values, const char* kind) -> const double* {
        const auto it = is_parameter ? values.find(name + kind) : values.end();
        return it == values.end() ? nullptr : it->second.f.data();
      };
      const double *buffer_was = state(some->before, ".momentum_buffer"),
                   *buffer_now = state(some->after, ".momentum_buffer");
      const double *first_was = state(some->before, ".exp_avg"), *second_now = state(some->after, ".exp_avg_sq");
      row.values += from == 0;
      row.elements += wanted.elements();
      double most = 0;
      size_t worst = 0;
      for (size_t k = 0; k < wanted.f.size(); ++k) {
        const double pull = std::fabs(some->gradient.f[k]) + decay * std::fabs(parameter.f[k]);
        // What is added up may cancel; its roundings stay.
        double addends = second ? pull * pull : pull;
        if (buffer_was) addends += std::fabs(buffer_was[k]) + std::fabs(buffer_now[k]);
        // Adam divides the sum of these by what it says their size is.
        if (first_was)
          addends = (addends + std::fabs(first_was[k])) / first_correction /
                    (std::sqrt(second_now[k] / second_correction) + *o.epsilon);
        if (is_parameter) addends *= step.learning_rate;
        const double found = now.f[k];
        const double allowed =
            most_roundings * float32_rounding * (std::fabs(was.f[k]) + std::fabs(wanted.f[k]) + addends) + 1e-40;
        const double ratio = std::isfinite(found) ? std::fabs(found - wanted.f[k]) / allowed : INFINITY;
        if (ratio > most) most = ratio, worst = k;
      }
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
