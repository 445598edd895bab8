// Optimizers as nodes, with the definitions of torch.optim (algorithms as given in its documentation of SGD, Adam,
// AdamW and RMSprop). t counts from 1; the graph's input "step" is the number of steps already done. Bias corrections
// are powers near 1 whose difference from 1 counts, so they are computed in float64.
#include <cmath>
#include <limits>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/training.h"

namespace optp {
OptimizerOptions with_defaults(OptimizerOptions o) {
  auto fill = [](std::optional<double>& number, double otherwise) { number = number.value_or(otherwise); };
  fill(o.momentum, 0), fill(o.weight_decay, o.name == "adamw" ? 0.01 : 0), fill(o.beta1, 0.9), fill(o.beta2, 0.999),
      fill(o.epsilon, 1e-8), fill(o.alpha, 0.99);
  return o;
}
double default_learning_rate(llvm::StringRef optimizer) { return optimizer == "rmsprop" ? 1e-2 : 1e-3; }

namespace {
class Optimizer : Formula {
 public:
  Optimizer(Builder& builder, const TrainingOptions& options)
      : Formula(builder),
        options_(options),
        o_(with_defaults(options.optimizer)),
        undecayed_(without_decay(builder.graph(), options)) {}

  llvm::Error run(llvm::ArrayRef<ParameterGradient> gradients) {
    build.at("optimizer", "");
    Graph& graph = build.graph();
    Value& step = graph.add_input("step", {DType::i64, {}});
    rate_ = &graph.add_input("learning_rate", {DType::f32, {}});
    Value* next = add(&step, 1);
    exact_step_ = cast(next, DType::f64);
    exact_rate_ = cast(rate_, DType::f64);
    update(step, next, "", "step");
    if (!failed() && (o_.name == "adam" || o_.name == "adamw")) {
      // step size lr / (1 - β₁ᵗ), and √(1 - β₂ᵗ)
      step_size_ =
          cast(div(exact_rate_, add(neg(op("pow", {scalar(DType::f64, beta1()), exact_step_})), 1)), DType::f32);
      correction_ = cast(sqrt(add(neg(op("pow", {scalar(DType::f64, beta2()), exact_step_})), 1)), DType::f32);
    }
    if (o_.name == "adamw" && llvm::any_of(gradients, [&](const ParameterGradient& g) { return decays(*g.parameter); }))
      keep_ = cast(add(neg(mul(exact_rate_, *o_.weight_decay)), 1), DType::f32);
    Value* clip = options_.max_gradient_norm > 0 ? clip_factor(gradients, options_.max_gradient_norm) : nullptr;
    for (auto [parameter, gradient] : gradients) {
      build.at(parameter->name, "");
      parameter_ = parameter;
      decay_ = decays(*parameter) ? *o_.weight_decay : 0;
      Value* g = clip ? mul(gradient, clip) : gradient;
      Value* p = advance(parameter, g);
      if (auto e = take_error()) return e;
      update(*parameter, p, parameter->name, "parameter");
    }
    return take_error();
  }

 private:
  bool decays(const Value& parameter) const { return !undecayed_.contains(&parameter); }
  double beta1() const { return *o_.beta1; }
  double beta2() const { return *o_.beta2; }
  double epsilon() const { return *o_.epsilon; }
  double momentum() const { return *o_.momentum; }

  void update(Value& input, Value* output, llvm::StringRef parameter, llvm::StringRef kind) {
    if (!output) return;
    Graph& graph = build.graph();
    if (!output->producer || graph.is_output(*output))
      return fail(
          error(Code::bug, "update of '" + input.name + "' is no value of its own").about({.tensor = input.name}));
    graph.rename(*output, input.name + ".next");
    graph.updates.push_back({input.name, output->name, parameter.str(), kind.str()});
    graph.outputs.push_back({output->name, output});
  }
  Value* state(const char* kind) { return &build.graph().add_input(parameter_->name + "." + kind, parameter_->type); }
  Value* keep(Value* before, Value* after, const char* kind) {
    update(*before, after, parameter_->name, kind);
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
    if (o_.name == "adamw")
      p = decays(*p) ? mul(p, keep_) : p;
    else if (decay_ != 0)
      g = add(g, mul(p, decay_));
    if (o_.name == "sgd") {
      if (momentum() != 0) {
        Value* before = state("momentum_buffer");
        Value* buffer = keep(before, add(mul(before, momentum()), g), "momentum_buffer");
        g = o_.nesterov ? add(g, mul(buffer, momentum())) : buffer;
      }
      return sub(p, mul(g, rate_));
    }
    if (o_.name == "rmsprop") {
      const double alpha = *o_.alpha;
      Value* before = state("square_avg");
      Value* square = keep(before, moving_square(before, g, alpha), "square_avg");
      if (o_.centered) {
        Value* mean_before = state("grad_avg");
        Value* mean = keep(mean_before, lerp(mean_before, g, 1 - alpha), "grad_avg");
        square = sub(square, mul(mean, mean));
      }
      Value* direction = div(g, add(sqrt(square), epsilon()));
      if (momentum() > 0) {
        Value* buffer_before = state("momentum_buffer");
        direction = keep(buffer_before, add(mul(buffer_before, momentum()), direction), "momentum_buffer");
      }
      return sub(p, mul(direction, rate_));
    }
    Value *first_before = state("exp_avg"), *second_before = state("exp_avg_sq");
    Value* first = keep(first_before, lerp(first_before, g, 1 - beta1()), "exp_avg");
    Value* second = keep(second_before, moving_square(second_before, g, beta2()), "exp_avg_sq");
    return sub(p, mul(div(first, add(div(sqrt(second), correction_), epsilon())), step_size_));
  }

  const TrainingOptions& options_;
  const OptimizerOptions o_;
  const llvm::DenseSet<const Value*> undecayed_;
  Value *rate_ = nullptr, *exact_step_ = nullptr, *exact_rate_ = nullptr, *step_size_ = nullptr, *correction_ = nullptr,
        *keep_ = nullptr;
  Value* parameter_ = nullptr;
  double decay_ = 0;  // its own
};

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
  if (o.name != "sgd" && o.name != "adam" && o.name != "adamw" && o.name != "rmsprop")
    return error(Code::bad_value).flag("--optimizer", quoted(o.name)).expected("sgd, adam, adamw or rmsprop");
  if (auto outside = outside_domain(options))
    return error(Code::bad_value).flag(outside->flag).expected(outside->expected).found(outside->found);
  if (o.nesterov && (o.name != "sgd" || o.momentum.value_or(0) <= 0))
    return error(Code::bad_value).flag("--nesterov").what("needs sgd with --momentum above 0");
  if (o.centered && o.name != "rmsprop") return error(Code::bad_value).flag("--centered").what("only rmsprop has it");
  return llvm::Error::success();
}

llvm::Error add_optimizer(Graph& graph, llvm::ArrayRef<ParameterGradient> gradients, const TrainingOptions& options) {
  if (auto e = check_settings(options)) return e;
  Builder build(graph);
  build.set_fold(false);
  build.phase(Phase::optimizer);
  return Optimizer(build, options).run(gradients);
}
}  // namespace optp
