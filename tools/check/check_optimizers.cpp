// optimizers of check --train: training_checker.h.
#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/Parallel.h"
#include "tools/check/mutants.h"
#include "tools/check/training_checker.h"
#include "tools/cli/progress.h"
#include "tools/train/checkpoint.h"

namespace optp {
namespace {
std::vector<std::pair<std::string, OptimizerOptions>> checked_optimizers() {
  std::vector<std::pair<std::string, OptimizerOptions>> out;
  auto add = [&](const char* name, const char* kind, auto set) {
    OptimizerOptions o;
    o.name = kind;
    set(o);
    out.emplace_back(name, o);
  };
  add("sgd", "sgd", [](auto&) {});
  add("sgd momentum", "sgd", [](auto& o) { o.momentum = 0.9; });
  add("sgd nesterov decay", "sgd", [](auto& o) { o.momentum = 0.9, o.nesterov = true, o.weight_decay = 0.01; });
  add("adam", "adam", [](auto&) {});
  add("adamw", "adamw", [](auto&) {});
  add("rmsprop", "rmsprop", [](auto&) {});
  add("rmsprop centered", "rmsprop", [](auto& o) { o.momentum = 0.9, o.centered = true; });
  return out;
}

}  // namespace

// Of torch.nn.utils.clip_grad_norm_, from the whole gradients.
llvm::Expected<double> TrainingChecker::clip_factor(const Job& job, const Moved& moved) const {
  const double most = job.training.max_gradient_norm;
  if (most <= 0) return 1;
  double squares = 0;
  for (const GradientOutput& g : job.whole->gradients) {
    auto gradient = joined(gradient_of(*job.whole, g), moved.gradients, g.output);
    if (!gradient) return gradient.takeError();
    for (double x : to_array(*gradient).f) squares += x * x;
  }
  return std::min(1.0, most / (std::sqrt(squares) + 1e-6));
}
// What a step did to a parameter and its state, put together from the ranks.
llvm::Expected<StepOfParameter> TrainingChecker::step_of(const Job& job, const Moved& moved, const GradientOutput& g,
                                                         double clip) const {
  const Value& parameter = *job.whole->find(g.parameter);
  auto gradient = joined(gradient_of(*job.whole, g), moved.gradients, g.output);
  if (!gradient) return gradient.takeError();
  StepOfParameter out{.parameter = &parameter, .gradient = std::move(*gradient), .clip = clip};
  for (const Update& u : job.whole->updates) {
    if (u.parameter != g.parameter) continue;
    const Value& held = *job.whole->find(u.input);
    auto old = joined(held, moved.before, u.input);
    auto now = joined(held, moved.after, u.input);
    if (!old || !now) return llvm::joinErrors(old.takeError(), now.takeError());
    out.before[u.input] = std::move(*old), out.after[u.input] = std::move(*now);
  }
  return out;
}

llvm::Expected<TrainingChecker::Moved> TrainingChecker::move(const Job& job, Stepper& ranks, const ExampleBatch& batch,
                                                             PerRank<HostArrays>& before) const {
  std::vector<std::string> names;
  for (const Update& u : job.whole->updates)
    if (!u.parameter.empty()) names.push_back(u.input);
  const auto held_ranks = ranks.ranks();
  llvm::parallelFor(0, held_ranks.size(), [&](size_t k) {
    const size_t r = held_ranks[k];
    for (const auto& [name, array] : ranks.values(r)) before[r][name] = array;  // into the bytes of the step before
  });
  auto loss = ranks.step(dims_, batch.ranks, *job.training.learning_rate);
  if (!loss) return loss.takeError();
  auto held = [](HostArrays& arrays, llvm::StringRef name) -> const HostArray* {
    const auto it = arrays.find(name);
    return it == arrays.end() ? nullptr : &it->second;
  };
  auto old = ArraysAtRoot::gather(world_, names, [&](size_t r, llvm::StringRef name) { return held(before[r], name); });
  if (!old) return old.takeError();
  auto now =
      ArraysAtRoot::gather(world_, names, [&](size_t r, llvm::StringRef name) { return held(ranks.values(r), name); });
  if (!now) return now.takeError();
  auto gradients = gather_gradients(job, ranks);
  if (!gradients) return gradients.takeError();
  return Moved{std::move(*old), std::move(*now), std::move(*gradients)};
}

llvm::Error TrainingChecker::compare_step(const Job& job, const Moved& moved, int64_t number, Row& row) {
  auto clip = clip_factor(job, moved);
  if (!clip) return clip.takeError();
  const auto& list = job.whole->gradients;
  std::vector<Row> parts(list.size(), Row{});
  std::vector<std::optional<Diagnostic>> faults(list.size());
  const auto undecayed = without_decay(*job.whole, job.training);
  llvm::parallelFor(0, list.size(), [&](size_t k) {
    auto step = step_of(job, moved, list[k], *clip);
    if (!step) return void(faults[k] = take_diagnostic(step.takeError()));
    step->step = number, step->learning_rate = float(*job.training.learning_rate);
    step->decays = !undecayed.contains(step->parameter);
    auto found = compare_update(*step, job.training, parts[k]);
    faults[k] = found ? *found : take_diagnostic(found.takeError());
  });
  for (size_t k = 0; k < list.size(); ++k) {
    row.values += parts[k].values, row.elements += parts[k].elements, row.error = std::max(row.error, parts[k].error);
    if (faults[k]) fail(row, *faults[k]);
  }
  return llvm::Error::success();
}

constexpr int steps = 3;

llvm::Error TrainingChecker::check_optimizer(const std::string& name, const OptimizerOptions& optimizer,
                                             Progress& progress) {
  auto job = load(optimizer);
  if (!job) return job.takeError();
  std::optional<Job> broken;  // of a mutant that changes what is asked for
  if (o_.mutant == swapped_betas || o_.mutant == clip_not_applied) {
    auto made = load(optimizer, /*broken=*/true);
    if (!made) return made.takeError();
    broken = std::move(*made);
  }
  auto ranks = ranks_stepper(broken ? *broken : *job);
  if (!ranks) return ranks.takeError();
  Row row{.name = name,
          .against = "float64 arithmetic on each step's own gradients, 3 steps; allowed: 16 roundings",
          .tolerance = 1};
  PerRank<HostArrays> before(world_.held());
  for (int s = 0; s < steps; ++s) {
    auto moved = move(*job, **ranks, batches_[size_t(s) % 2], before);
    if (!moved) return moved.takeError();
    if (auto e = world_.at_root([&] { return compare_step(*job, *moved, s, row); })) return e;
    progress.add(1);
  }
  rows_.push_back(std::move(row));
  return llvm::Error::success();
}

llvm::Error TrainingChecker::optimizers() {
  auto list = checked_optimizers();
  if (llvm::none_of(list, [&](const auto& o) { return same_optimizer(o.second, job_.training.optimizer); }))
    list.emplace_back(job_options_.training.optimizer.name + " as asked", job_.training.optimizer);
  Progress progress("checking optimizers", int64_t(list.size()) * steps);
  for (const auto& [name, optimizer] : list)
    if (auto e = check_optimizer(name, optimizer, progress)) return e;
  return llvm::Error::success();
}

}  // namespace optp
