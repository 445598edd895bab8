// Optimizers as nodes, with the definitions of torch.optim (algorithms as given in its documentation of SGD, Adam,
// AdamW and RMSprop). t counts from 1; the graph's input "step" is the number of steps already done. Bias corrections
// are powers near 1 whose difference from 1 counts, so they are computed in float64.
#include <cassert>
#include <cmath>
#include <limits>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/optimizers.h"
#include "passes/training.h"

namespace optp {
OptimizerOptions with_defaults(OptimizerOptions o) {
  auto fill = [](std::optional<double>& number, double otherwise) { number = number.value_or(otherwise); };
  const OptimizerDef* def = find_optimizer(o.name);
  fill(o.momentum, 0), fill(o.weight_decay, def ? def->weight_decay : 0), fill(o.beta1, 0.9), fill(o.beta2, 0.999),
      fill(o.epsilon, 1e-8), fill(o.alpha, 0.99);
  return o;
}
double default_learning_rate(llvm::StringRef optimizer) {
  const OptimizerDef* def = find_optimizer(optimizer);
  return def ? def->learning_rate : 0;  // that there is none such says check_settings
}

namespace {
constexpr StateKind momentum_buffer{"momentum_buffer"}, exp_avg{"exp_avg"}, grad_avg{"grad_avg"},
    exp_avg_sq{"exp_avg_sq", /*of_squares=*/true}, square_avg{"square_avg", /*of_squares=*/true};
}  // namespace

class OptimizerStep : Formula {
 public:
  OptimizerStep(Builder& builder, const OptimizerDef& def, const TrainingOptions& options)
      : Formula(builder),
        def_(def),
        options_(options),
        o_(with_defaults(options.optimizer)),
        undecayed_(without_decay(builder.graph(), options)) {}

  llvm::Error run(llvm::ArrayRef<ParameterGradient> gradients) {
    build.at("optimizer", "");
    Graph& graph = build.graph();
    Value& step = graph.add_input(step_name, {DType::i64, {}});
    rate_ = &graph.add_input(learning_rate_name, {DType::f32, {}});
    Value* next = add(&step, 1);
    exact_step_ = cast(next, DType::f64);
    exact_rate_ = cast(rate_, DType::f64);
    update(step, next, "", {UpdateKind::step});
    if (!failed() && def_.prepare) (this->*def_.prepare)();
    if (def_.decays_parameter &&
        llvm::any_of(gradients, [&](const ParameterGradient& g) { return decays(*g.parameter); }))
      keep_ = cast(add(neg(mul(exact_rate_, *o_.weight_decay)), 1), DType::f32);
    Value* clip = options_.max_gradient_norm > 0 ? clip_factor(gradients, options_.max_gradient_norm) : nullptr;
    for (auto [parameter, gradient] : gradients) {
      build.at(parameter->name, "");
      parameter_ = parameter;
      decay_ = decays(*parameter) ? *o_.weight_decay : 0;
      Value* g = clip ? mul(gradient, clip) : gradient;
      Value* p = advance(parameter, g);
      if (auto e = take_error()) return e;
      update(*parameter, p, parameter->name, {UpdateKind::parameter});
    }
    return take_error();
  }

  Value* sgd(Value* p, Value* g) {
    if (momentum() != 0) {
      Value* before = state(momentum_buffer);
      Value* buffer = keep(before, add(mul(before, momentum()), g), momentum_buffer);
      g = o_.nesterov ? add(g, mul(buffer, momentum())) : buffer;
    }
    return sub(p, mul(g, rate_));
  }
  // step size lr / (1 - β₁ᵗ), and √(1 - β₂ᵗ)
  void correct_bias() {
    step_size_ = cast(div(exact_rate_, add(neg(op("pow", {scalar(DType::f64, beta1()), exact_step_})), 1)), DType::f32);
    correction_ = cast(sqrt(add(neg(op("pow", {scalar(DType::f64, beta2()), exact_step_})), 1)), DType::f32);
  }
  Value* adam(Value* p, Value* g) {
    Value *first_before = state(exp_avg), *second_before = state(exp_avg_sq);
    Value* first = keep(first_before, lerp(first_before, g, 1 - beta1()), exp_avg);
    Value* second = keep(second_before, moving_square(second_before, g, beta2()), exp_avg_sq);
    return sub(p, mul(div(first, add(div(sqrt(second), correction_), epsilon())), step_size_));
  }
  Value* rmsprop(Value* p, Value* g) {
    const double alpha = *o_.alpha;
    Value* before = state(square_avg);
    Value* square = keep(before, moving_square(before, g, alpha), square_avg);
    if (o_.centered) {
      Value* mean_before = state(grad_avg);
      Value* mean = keep(mean_before, lerp(mean_before, g, 1 - alpha), grad_avg);
      square = sub(square, mul(mean, mean));
    }
    Value* direction = div(g, add(sqrt(square), epsilon()));
    if (momentum() > 0) {
      Value* buffer_before = state(momentum_buffer);
      direction = keep(buffer_before, add(mul(buffer_before, momentum()), direction), momentum_buffer);
    }
    return sub(p, mul(direction, rate_));
  }

 private:
  bool decays(const Value& parameter) const { return !undecayed_.contains(&parameter); }
  double beta1() const { return *o_.beta1; }
  double beta2() const { return *o_.beta2; }
  double epsilon() const { return *o_.epsilon; }
  double momentum() const { return *o_.momentum; }

  void update(Value& input, Value* output, llvm::StringRef parameter, UpdateKind kind) {
    if (!output) return;
    Graph& graph = build.graph();
    if (!output->producer || graph.is_output(*output))
      return fail(
          error(Code::bug, "update of '" + input.name + "' is no value of its own").about({.tensor = input.name}));
    graph.rename(*output, input.name + ".next");
    graph.updates.push_back({input.name, output->name, parameter.str(), std::move(kind)});
    graph.outputs.push_back({output->name, output});
  }
  Value* state(const StateKind& kind) {
    assert(def_.find_state(kind.name) && "an optimizer's row lists its states");
    return &build.graph().add_input(parameter_->name + "." + kind.name.str(), parameter_->type);
  }
  Value* keep(Value* before, Value* after, const StateKind& kind) {
    update(*before, after, parameter_->name, {UpdateKind::state, kind.name.str()});
    return after;
  }
  // a + weight · (b - a), as PyTorch's lerp for weights below one half
  Value* lerp(Value* a, Value* b, double weight) { return add(a, mul(sub(b, a), weight)); }
  Value* moving_square(Value* v, Value* g, double keep) {
    Value* added = mul(mul(g, g), 1 - keep);
    return add(mul(v, keep), added);
  }

  // torch.nn.utils.clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. Shards' squares add up; what every rank holds
  // whole counts once, since it is no partial sum.
  Value* clip_factor(llvm::ArrayRef<ParameterGradient> gradients, double max_norm) {
    llvm::SmallVector<Value*> squares;
    for (auto [parameter, gradient] : gradients) {
      llvm::SmallVector<int64_t, 4> axes;
      for (size_t d = 0; d < gradient->ndim(); ++d) axes.push_back(int64_t(d));
      squares.push_back(sum(mul(gradient, gradient), axes, /*keepdims=*/false));
    }
    Value* norm = sqrt(squares.size() == 1 ? squares[0] : op("sum", squares, {}, "gradient_norm.squared"));
    Value* at_least = add(norm, 1e-6);
    return op("min", {div(scalar(DType::f32, max_norm), at_least), scalar(DType::f32, 1)}, {}, "gradient_clip");
  }

  Value* advance(Value* p, Value* g) {
    if (def_.decays_parameter)
      p = decays(*p) ? mul(p, keep_) : p;
    else if (decay_ != 0)
      g = add(g, mul(p, decay_));
    return (this->*def_.update)(p, g);
  }

  const OptimizerDef& def_;
  const TrainingOptions& options_;
  const OptimizerOptions o_;
  const llvm::DenseSet<const Value*> undecayed_;
  Value *rate_ = nullptr, *exact_step_ = nullptr, *exact_rate_ = nullptr, *step_size_ = nullptr, *correction_ = nullptr,
        *keep_ = nullptr;
  Value* parameter_ = nullptr;
  double decay_ = 0;  // its own
};

llvm::ArrayRef<OptimizerDef> all_optimizers() {
  static const llvm::SmallVector<std::optional<double> OptimizerOptions::*, 3> adams{
      &OptimizerOptions::beta1, &OptimizerOptions::beta2, &OptimizerOptions::epsilon};
  static const OptimizerDef rows[] = {
      {.name = "sgd",
       .takes_nesterov = true,
       .takes = {&OptimizerOptions::momentum},
       .states = {momentum_buffer},
       .update = &OptimizerStep::sgd},
      {.name = "adam",
       .takes = adams,
       .states = {exp_avg, exp_avg_sq},
       .prepare = &OptimizerStep::correct_bias,
       .update = &OptimizerStep::adam},
      {.name = "adamw",
       .weight_decay = 0.01,
       .decays_parameter = true,
       .takes = adams,
       .states = {exp_avg, exp_avg_sq},
       .prepare = &OptimizerStep::correct_bias,
       .update = &OptimizerStep::adam},
      {.name = "rmsprop",
       .learning_rate = 1e-2,
       .takes_centered = true,
       .takes = {&OptimizerOptions::momentum, &OptimizerOptions::epsilon, &OptimizerOptions::alpha},
       .states = {square_avg, grad_avg, momentum_buffer},
       .update = &OptimizerStep::rmsprop},
  };
  return rows;
}
const OptimizerDef* find_optimizer(llvm::StringRef name) {
  const auto* at = llvm::find_if(all_optimizers(), [&](const OptimizerDef& def) { return def.name == name; });
  return at == all_optimizers().end() ? nullptr : at;
}
const StateKind* OptimizerDef::find_state(llvm::StringRef state) const {
  const auto* at = llvm::find_if(states, [&](const StateKind& kind) { return kind.name == state; });
  return at == states.end() ? nullptr : at;
}
static std::string names_where(llvm::function_ref<bool(const OptimizerDef&)> holds) {
  llvm::SmallVector<llvm::StringRef, 4> names;
  for (const OptimizerDef& def : all_optimizers())
    if (holds(def)) names.push_back(def.name);
  return in_words(names, " or ");
}
std::string optimizer_names() {
  return names_where([](const OptimizerDef&) { return true; });
}

namespace {
// What a setting must be: PyTorch's own limits, and finite in float32, in which steps are computed.
struct Domain {
  const char *flag, *member, *expected;
  bool (*holds)(double);
};
bool at_least_zero(double x) { return x >= 0 && x <= std::numeric_limits<float>::max(); }
bool below_one(double x) { return x >= 0 && x < 1; }
bool share(double x) { return x >= 0 && x <= 1; }
constexpr const char* finite = "a finite float32 number of at least 0";
constexpr Domain learning_rate{"--lr", "learning_rate", finite, at_least_zero},
    max_norm{"--max-grad-norm", "max_grad_norm", finite, at_least_zero},
    momentum{"--momentum", "momentum", finite, at_least_zero},
    weight_decay{"--weight-decay", "weight_decay", finite, at_least_zero},
    beta1{"--betas", "beta1", "a number of at least 0 and below 1", below_one},
    beta2{"--betas", "beta2", beta1.expected, below_one}, epsilon{"--eps", "eps", finite, at_least_zero},
    alpha{"--alpha", "alpha", "a number from 0 to 1", share};
}  // namespace

std::optional<OutsideDomain> outside_domain(const TrainingOptions& options) {
  const OptimizerOptions& o = options.optimizer;
  for (const auto& [domain, value] : {std::pair(learning_rate, options.learning_rate),
                                      {max_norm, std::optional(options.max_gradient_norm)},
                                      {momentum, o.momentum},
                                      {weight_decay, o.weight_decay},
                                      {beta1, o.beta1},
                                      {beta2, o.beta2},
                                      {epsilon, o.epsilon},
                                      {alpha, o.alpha}})
    if (value && !domain.holds(*value)) {
      std::string found;
      llvm::raw_string_ostream(found) << llvm::format("%g", std::isnan(*value) ? std::fabs(*value) : *value);
      return OutsideDomain{domain.flag, domain.member, domain.expected, found};
    }
  return std::nullopt;
}

llvm::Error check_settings(const TrainingOptions& options) {
  const OptimizerOptions& o = options.optimizer;
  const OptimizerDef* def = find_optimizer(o.name);
  if (!def) return error(Code::bad_value).flag("--optimizer", quoted(o.name)).expected(optimizer_names());
  if (auto outside = outside_domain(options))
    return error(Code::bad_value).flag(outside->flag).expected(outside->expected).found(outside->found);
  const auto nesterov = [](const OptimizerDef& d) { return d.takes_nesterov; };
  const auto centered = [](const OptimizerDef& d) { return d.takes_centered; };
  if (o.nesterov && (!nesterov(*def) || o.momentum.value_or(0) <= 0))
    return error(Code::bad_value)
        .flag("--nesterov")
        .what("needs " + names_where(nesterov) + " with --momentum above 0");
  if (o.centered && !centered(*def))
    return error(Code::bad_value).flag("--centered").what("only " + names_where(centered) + " has it");
  // One that says what it is without being given says nothing.
  const OptimizerOptions otherwise = with_defaults({.name = o.name});
  for (const auto& [domain, member] : {std::pair(momentum, &OptimizerOptions::momentum),
                                       {beta1, &OptimizerOptions::beta1},
                                       {beta2, &OptimizerOptions::beta2},
                                       {epsilon, &OptimizerOptions::epsilon},
                                       {alpha, &OptimizerOptions::alpha}}) {
    auto takes = [member = member](const OptimizerDef& d) { return llvm::is_contained(d.takes, member); };
    if (takes(*def) || (o.*member).value_or(*(otherwise.*member)) == *(otherwise.*member)) continue;
    const size_t count = size_t(llvm::count_if(all_optimizers(), takes));
    return error(Code::bad_value)
        .flag(domain.flag)
        .what("only " + names_where(takes) + (count == 1 ? " has it" : " have it"));
  }
  return llvm::Error::success();
}

llvm::Error add_optimizer(Graph& graph, llvm::ArrayRef<ParameterGradient> gradients, const TrainingOptions& options) {
  if (auto e = check_settings(options)) return e;
  Builder build(graph);
  build.set_fold(false);
  build.phase(Phase::optimizer);
  return OptimizerStep(build, *find_optimizer(options.optimizer.name), options).run(gradients);
}
}  // namespace optp
