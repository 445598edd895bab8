// optimizers of check --train: training_checker.h.
#include <cmath>
#include <numeric>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/Parallel.h"
#include "tools/check/mutants.h"
#include "tools/check/training_checker.h"
#include "tools/cli/progress.h"
#include "tools/train/checkpoint.h"

namespace optp {
namespace {
bool fills(const Shard& shard, const HostArray* part) {
  return part && int64_t(part->bytes.size()) == shard.elements() * size_bytes(part->dtype);
}
bool have_same_bytes(const StepOfParameter& a, const StepOfParameter& b) {
  auto same = [](const StepOfParameter::Arrays& x, const StepOfParameter::Arrays& y) {
    return llvm::all_of(x, [&](const auto& array) { return array.second->bytes == y.at(array.first)->bytes; });
  };
  return a.gradient->bytes == b.gradient->bytes && same(a.before, b.before) && same(a.after, b.after);
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
// What a step did to a parameter and its state on each rank, as it lies there: of copies that are the same to the last
// bit the first. Nothing where gradient, parameter and state are not cut alike, or a rank lacks some of them.
TrainingChecker::StepsOfRanks TrainingChecker::steps_of_ranks(const Job& job, const Moved& moved,
                                                              const GradientOutput& g) const {
  const Value& gradient = gradient_of(*job.whole, g);
  const std::vector<Shard> shards = shards_of(gradient);
  std::vector<std::string> held;
  for (const Update& u : job.whole->updates)
    if (u.parameter == g.parameter) held.push_back(u.input);
  if (llvm::any_of(held, [&](llvm::StringRef name) { return shards_of(*job.whole->find(name)) != shards; })) return {};
  if (gradient.sharding->is_partial() || held_by_none(shards[0].whole, shards)) return {};
  StepsOfRanks out;
  for (size_t r = 0; r < shards.size(); ++r) {
    if (shards[r].elements() == 0) continue;
    StepOfParameter step{.parameter = job.whole->find(g.parameter), .gradient = moved.gradients.find(r, g.output)};
    bool complete = fills(shards[r], step.gradient);
    for (const std::string& name : held) {
      const HostArray* before = step.before[name] = moved.before.find(r, name);
      const HostArray* after = step.after[name] = moved.after.find(r, name);
      complete &= fills(shards[r], before) && fills(shards[r], after);
    }
    if (!complete) return {};
    if (llvm::none_of(out, [&](const auto& other) {
          return shards[other.first] == shards[r] && have_same_bytes(other.second, step);
        }))
      out.emplace_back(r, std::move(step));
  }
  return out;
}
// The same put together from the ranks; `whole` holds what is.
llvm::Expected<StepOfParameter> TrainingChecker::step_of_whole(const Job& job, const Moved& moved,
                                                               const GradientOutput& g,
                                                               std::deque<HostArray>& whole) const {
  auto put_together = [&](const Value& like, const ArraysAtRoot& parts,
                          llvm::StringRef name) -> llvm::Expected<const HostArray*> {
    auto array = joined(like, parts, name);
    if (!array) return array.takeError();
    return &whole.emplace_back(std::move(*array));
  };
  auto gradient = put_together(gradient_of(*job.whole, g), moved.gradients, g.output);
  if (!gradient) return gradient.takeError();
  StepOfParameter out{.parameter = job.whole->find(g.parameter), .gradient = *gradient};
  for (const Update& u : job.whole->updates) {
    if (u.parameter != g.parameter) continue;
    const Value& held = *job.whole->find(u.input);
    auto before = put_together(held, moved.before, u.input);
    if (!before) return before.takeError();
    auto after = put_together(held, moved.after, u.input);
    if (!after) return after.takeError();
    out.before[u.input] = *before, out.after[u.input] = *after;
  }
  return out;
}
// Of one parameter, whose values and elements are added to the row.
std::optional<Diagnostic> TrainingChecker::compare_parameter(const Job& job, const Moved& moved,
                                                             const GradientOutput& g, const StepOfParameter& like,
                                                             Row& row) const {
  std::deque<HostArray> whole;
  StepsOfRanks steps = steps_of_ranks(job, moved, g);
  const bool is_whole = steps.empty();
  if (is_whole) {
    auto step = step_of_whole(job, moved, g, whole);
    if (!step) return take_diagnostic(step.takeError());
    steps.emplace_back(0, std::move(*step));
  }
  std::optional<Diagnostic> fault;
  for (auto& [rank, step] : steps) {
    step.clip = like.clip, step.step = like.step, step.learning_rate = like.learning_rate, step.decays = like.decays;
    Row of_step;
    auto found = compare_update(step, job.training, of_step);
    if (!found) return take_diagnostic(found.takeError());
    row.values = of_step.values, row.elements += of_step.elements, row.error = std::max(row.error, of_step.error);
    if (*found && !fault) fault = is_whole ? **found : (*found)->within(words("rank " + llvm::Twine(rank)));
  }
  return fault;
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
  return Moved{*loss, std::move(*old), std::move(*now), std::move(*gradients)};
}

llvm::Error TrainingChecker::compare_step(const Job& job, const Moved& moved, int64_t number, Row& row) {
  auto clip = clip_factor(job, moved);
  if (!clip) return clip.takeError();
  const auto& list = job.whole->gradients;
  std::vector<Row> parts(list.size(), Row{});
  std::vector<std::optional<Diagnostic>> faults(list.size());
  const auto undecayed = without_decay(*job.whole, job.training);
  // The largest first: one that begins last would have the other cores wait.
  std::vector<size_t> order(list.size());
  std::iota(order.begin(), order.end(), size_t(0));
  llvm::stable_sort(order, [&](size_t a, size_t b) {
    auto elements = [&](size_t k) { return job.whole->find(list[k].parameter)->data->elements(); };
    return elements(a) > elements(b);
  });
  llvm::parallelFor(0, list.size(), [&](size_t at) {
    const size_t k = order[at];
    const StepOfParameter like{.clip = *clip,
                               .step = number,
                               .learning_rate = float(*job.training.learning_rate),
                               .decays = !undecayed.contains(job.whole->find(list[k].parameter))};
    faults[k] = compare_parameter(job, moved, list[k], like, parts[k]);
  });
  for (size_t k = 0; k < list.size(); ++k) {
    row.values += parts[k].values, row.elements += parts[k].elements, row.error = std::max(row.error, parts[k].error);
    if (faults[k]) fail(row, *faults[k]);
  }
  return llvm::Error::success();
}

bool TrainingChecker::is_asked(const OptimizerOptions& optimizer) const {
  return same_optimizer(optimizer, job_.training.optimizer);
}
std::vector<std::pair<std::string, OptimizerOptions>> TrainingChecker::checked_optimizers() const {
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
  if (llvm::none_of(out, [&](const auto& o) { return is_asked(o.second); }))
    out.emplace_back(job_options_.training.optimizer.name + " as asked", job_.training.optimizer);
  return out;
}

llvm::Expected<std::unique_ptr<Stepper>> TrainingChecker::optimizer_stepper(const Job& job) const {
  if (o_.mutant != swapped_betas && o_.mutant != clip_not_applied) return ranks_stepper(job);
  auto broken = load(job.training.optimizer, /*broken=*/true);
  if (!broken) return broken.takeError();
  return ranks_stepper(*broken);
}
llvm::Error TrainingChecker::compare_steps(const Job& job, Stepper& ranks, Row& row, Progress& progress,
                                           llvm::function_ref<llvm::Error(const Moved&)> also) {
  row.against = "float64 arithmetic on each step's own gradients, 3 steps; allowed: 16 roundings";
  row.tolerance = 1;
  PerRank<HostArrays> before(world_.held());
  for (size_t s = 0; s < optimizer_steps; ++s) {
    auto moved = move(job, ranks, batches_[s % batches_.size()], before);
    if (!moved) return moved.takeError();
    if (auto e = world_.at_root([&] { return compare_step(job, *moved, int64_t(s), row); })) return e;
    if (also)
      if (auto e = also(*moved)) return e;
    progress.add(1);
  }
  return llvm::Error::success();
}

llvm::Error TrainingChecker::optimizers() {
  const auto list = checked_optimizers();
  Progress progress("checking optimizers", int64_t(list.size() - 1) * optimizer_steps);
  for (const auto& [name, optimizer] : list) {
    if (is_asked(optimizer)) {
      rows_.push_back(std::move(asked_));
      continue;
    }
    auto job = load(optimizer);
    if (!job) return job.takeError();
    auto ranks = optimizer_stepper(*job);
    if (!ranks) return ranks.takeError();
    Row row{.name = name};
    if (auto e = compare_steps(*job, **ranks, row, progress)) return e;
    rows_.push_back(std::move(row));
  }
  return llvm::Error::success();
}

}  // namespace optp
