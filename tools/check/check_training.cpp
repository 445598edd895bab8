// check --train from its batches to its report, with what its groups share, and the groups memory and stability.
#include "tools/check/check_training.h"

#include <cmath>
#include <random>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Parallel.h"
#include "passes/optimizers.h"
#include "passes/plan/make_plan.h"
#include "tools/check/mutants.h"
#include "tools/check/training_checker.h"
#include "tools/run/activation_peak.h"
#include "tools/run/prepare.h"

namespace optp {

llvm::Expected<TrainingCheck> TrainingChecker::run() {
  auto job = load(training_of(job_options_).optimizer);
  if (!job) return job.takeError();
  job_ = std::move(*job);
  dims_ = job_.asked;
  auto batches = make_example_batches(job_, o_.inputs, o_.inputs_dir, dims_, world_.held());
  if (!batches) return batches.takeError();
  batches_ = std::move(*batches);
  if (auto e = world_.at_root([&] { return backward(); })) return e;
  if (auto e = asked_steps()) return e;
  if (auto e = optimizers()) return e;
  if (auto e = world_.at_root([&] { return memory(); })) return e;
  if (auto e = world_.at_root([&] { return stability(); })) return e;
  return result();
}
TrainingCheck TrainingChecker::result() {
  TrainingCheck out{std::move(rows_), {}};
  for (const Row& row : out.rows)
    if (const auto at = faults_.find(row.name); at != faults_.end() && !out.fault) out.fault = std::move(at->second);
  return out;
}

llvm::Expected<Job> TrainingChecker::load(const OptimizerOptions& optimizer, bool broken) const {
  JobOptions options = job_options_;
  options.training.optimizer = optimizer;
  options.betas.clear();  // those of the optimizer that was asked for, which has them
  const bool has_betas = llvm::is_contained(find_optimizer(optimizer.name)->takes, &OptimizerOptions::beta1);
  if (broken && has_betas && o_.mutant == swapped_betas)
    options.training.optimizer.beta1 = optimizer.beta2.value_or(0.999),
    options.training.optimizer.beta2 = optimizer.beta1.value_or(0.9);
  if (broken && o_.mutant == clip_not_applied) options.training.max_gradient_norm = 0;
  if (optimizer.name != job_options_.training.optimizer.name) options.training.learning_rate.reset();
  auto job = retrain(forward_, training_of(options));
  if (!job) return job.takeError();
  if (auto e = prepare_weights(*job, o_.random_weights)) return e;
  return job;
}

void TrainingChecker::fail(Row& row, Diagnostic fault) {
  row.holds = false;
  faults_.try_emplace(row.name, std::move(fault.within(words(row.name))));
}
llvm::Expected<PerRank<std::unique_ptr<Graph>>> TrainingChecker::rank_graphs(const Job& job,
                                                                             llvm::ArrayRef<size_t> ranks) const {
  PerRank<std::unique_ptr<Graph>> out(ranks);
  for (const size_t r : ranks) {
    out[r] = job.ranks[r]->clone();
    if (!o_.mutant.empty())
      if (auto e = apply_mutant(*out[r], int64_t(r), o_.mutant)) {
        if (&job == &job_) return e;
        llvm::consumeError(std::move(e));  // another optimizer has nothing to break that way
      }
  }
  return out;
}
llvm::Expected<std::unique_ptr<Stepper>> TrainingChecker::ranks_stepper(const Job& job) const {
  auto graphs = rank_graphs(job, world_.held());
  if (!graphs) return graphs.takeError();
  return Stepper::create(world_, std::move(*graphs),
                         {.threads_per_device = o_.threads, .gradients = true, .slow = o_.slow});
}
llvm::Expected<std::unique_ptr<Stepper>> TrainingChecker::whole_stepper(const Job& job) {
  PerRank<std::unique_ptr<Graph>> graphs(one_.held());
  graphs[0] = job.whole->clone();
  return Stepper::create(one_, std::move(graphs),
                         {.threads_per_device = o_.threads, .gradients = true, .slow = o_.slow});
}
const Value& TrainingChecker::gradient_of(const Graph& whole, const GradientOutput& gradient) {
  return *llvm::find_if(whole.outputs, [&](const GraphOutput& o) { return o.name == gradient.output; })->value;
}
std::vector<Shard> TrainingChecker::shards_of(const Value& value) const {
  Extents dims;
  for (Dim d : value.type.dims) dims.push_back(*d.constant());
  return Shard::of_all(dims, *value.sharding, mesh());
}
llvm::Expected<HostArray> TrainingChecker::joined(const Value& like, const ArraysAtRoot& parts,
                                                  llvm::StringRef name) const {
  const HostArray* first = parts.find(0, name);
  if (!first) return error(Code::bug).what(quoted(name)).what("rank 0 has none of it");
  const std::vector<Shard> shards = shards_of(like);
  auto whole = join(first->dtype, shards[0].whole, shards, [&](size_t r) -> llvm::Expected<llvm::ArrayRef<char>> {
    const HostArray* part = parts.find(r, name);
    return part ? llvm::ArrayRef<char>(part->bytes) : llvm::ArrayRef<char>();
  });
  if (!whole) return within(words(quoted(like.name)), whole.takeError());
  return whole;
}
llvm::Expected<ArraysAtRoot> TrainingChecker::gather_gradients(const Job& job, const Stepper& ranks) const {
  std::vector<std::string> names;
  for (const GradientOutput& g : job.whole->gradients) names.push_back(g.output);
  return ArraysAtRoot::gather(world_, names, [&](size_t r, llvm::StringRef name) { return ranks.gradient(r, name); });
}

llvm::Expected<PerRank<TrainingChecker::Memory>> TrainingChecker::measured(Stepper& stepper) const {
  PerRank<Memory> own(world_.held());
  for (const size_t r : world_.held()) {
    Memory& m = own[r];
    for (const Update& u : stepper.graph(r).updates)
      if (u.kind.of != UpdateKind::step)
        (u.kind.of == UpdateKind::parameter ? m.parameters : m.state) +=
            int64_t(stepper.values(r)[u.input].bytes.size());
    for (const GradientOutput& g : stepper.graph(r).gradients)
      m.gradients += int64_t(stepper.gradient(r, g.output)->bytes.size());
    const MemoryNumbers numbers = stepper.memory(r);
    m.values = numbers.value_bytes, m.arena = numbers.arena_actual_bytes;
  }
  return world_.gather_numbers(own);
}
llvm::Error TrainingChecker::memory() {
  Row row{
      .name = "memory", .against = "elements of the whole model; predicted bytes of each device", .tolerance = 0.02};
  // Each element of a parameter on at least one device, and none beyond the model's.
  for (const Value* v : job_.whole->data()) {
    if (!v->is_parameter) continue;
    ++row.values;
    row.elements += v->data->elements();
    if (auto at = held_by_none(v->data->dims, Shard::of_all(v->data->dims, *v->sharding, mesh())))
      fail(row, error(Code::difference, called(*v))
                    .what("element " + to_string(Dims(at->begin(), at->end())) + " is on no device")
                    .about({.tensor = v->name}));
  }
  Plan plan = make_plan(job_, dims_, "", /*weights=*/true);
  if (auto e = add_activation_peaks(plan, job_, dims_, /*workspace=*/false)) return e;
  for (size_t r = 0; r < memory_.size(); ++r) {
    const Plan::Device& device = plan.devices[r];
    int64_t trained = 0;  // a frozen parameter is in the rank's data
    for (const GradientOutput& g : job_.whole->gradients) {
      const Value& v = *job_.ranks[r]->find(g.parameter);
      trained += *product(v.type.dims).constant() * size_bytes(v.type.dtype);
    }
    auto compare = [&](const char* what, int64_t predicted, int64_t actual) {
      const double off = actual > 0 ? std::fabs(double(predicted - actual)) / double(actual) : double(predicted != 0);
      row.error = std::max(row.error, off);
      if (!(off <= row.tolerance))
        fail(row, error(Code::difference)
                      .what(llvm::Twine(what) + " of rank " + llvm::Twine(r))
                      .what("predicted " + llvm::Twine(predicted) + " bytes, found " + llvm::Twine(actual))
                      .about({.expected = std::to_string(predicted) + " bytes", .found = std::to_string(actual)}));
    };
    compare("parameters", trained, memory_[r].parameters);
    compare("state", device.state_bytes, memory_[r].state);
    compare("gradients", device.gradient_bytes, memory_[r].gradients);
    compare("activations", *device.activation_peak_bytes, memory_[r].values);
  }
  row.note = llvm::formatv("rank 0: {0} bytes of activations, {1} of arena with the kernels' workspace",
                           memory_[0].values, memory_[0].arena)
                 .str();
  rows_.push_back(std::move(row));
  return llvm::Error::success();
}

namespace {
// The half precision that a float32 master is rounded to in the forward pass; f32: it is not.
DType seen_as(const Value* master) {
  if (master)
    for (const Use& use : master->uses)
      if (use.node->op->is(Trait::converts) && is_half(use.node->out().type.dtype)) return use.node->out().type.dtype;
  return DType::f32;
}
// Every weight in its last bit. Of masters that the forward pass sees rounded to half precision this shows nothing, as
// they begin as halves; but once they have moved, rounding takes a few of them a whole step of the half apart, others
// on the ranks than in the unpartitioned run. Masters that differ by some 2^-22 of themselves are rounded apart where
// the border of two halves lies between them: one in 2^11 in float16, one in 2^14 in bfloat16. Twice and four times as
// many are moved here, so that a few weights that count much are not missed by chance.
void move_weights(Stepper& whole, uint64_t draw) {
  uint64_t seed = draw << 32;
  for (auto& [name, array] : whole.values(0)) {
    if (array.dtype != DType::f32) continue;
    const DType seen = seen_as(whole.graph(0).find(name));
    const float step = seen == DType::f16 ? 0x1p-10f : 0x1p-7f;
    const uint64_t one_in = seen == DType::f16 ? 1 << 10 : 1 << 12;
    auto* x = reinterpret_cast<float*>(array.bytes.data());
    auto move = [&](std::mt19937_64 random, size_t from, size_t to) {
      for (size_t k = from; k < to; ++k) {
        if (x[k] == 0) continue;
        const bool up = random() & 1;
        x[k] = std::nextafter(x[k], up ? INFINITY : -INFINITY);
        if (is_half(seen) && random() % one_in == 0) x[k] *= up ? 1 + step : 1 - step;
      }
    };
    // Each part has numbers of its own, so that they do not depend on how many threads there are.
    constexpr size_t part = size_t(1) << 16;
    const size_t elements = array.bytes.size() / sizeof(float);
    const size_t parts = llvm::divideCeil(elements, part);
    llvm::parallelFor(0, parts,
                      [&](size_t k) { move(std::mt19937_64(seed + k), k * part, std::min(elements, (k + 1) * part)); });
    seed += parts;
  }
}
}  // namespace

llvm::Error TrainingChecker::finish(std::vector<double>& curve, Stepper& stepper, bool whole) const {
  while (curve.size() < epochs * batches_.size()) {
    const ExampleBatch& batch = batches_[curve.size() % batches_.size()];
    auto loss = stepper.step(dims_, whole ? PerRank<HostArrays>::of_all({batch.whole}) : batch.ranks, rate());
    if (!loss) return loss.takeError();
    curve.push_back(*loss);
  }
  return llvm::Error::success();
}
namespace {
// How far each step's loss, or that of a step before it, is moved by other last bits of the weights, as several draws
// find it. One alone may miss what a few weights do whose gradient is zero but for its rounding, as a router's is for
// an expert whose share does not count: 8e-10 in one run and -1.5e-9 in another, which Adam's first steps take for a
// direction, as 1e-9 is not small beside its epsilon.
class Sensitivity {
 public:
  explicit Sensitivity(llvm::ArrayRef<double> losses) : losses_(losses), largest_(losses.size(), 0.0) {}
  void add(llvm::ArrayRef<double> moved) {
    for (size_t k = 0; k < losses_.size(); ++k)
      largest_[k] =
          std::max({largest_[k], std::fabs(losses_[k] - moved[k]), 4 * float32_rounding * std::fabs(losses_[k])});
  }
  // Of the first step that is off by more than 8 times that, how much; else the largest there is. 1 is 8 times.
  std::pair<size_t, double> worst(llvm::ArrayRef<double> found) const {
    std::pair<size_t, double> out{0, 0};
    double yardstick = 0;
    for (size_t k = 0; k < losses_.size() && out.second <= 1; ++k) {
      yardstick = std::max(yardstick, largest_[k]);
      const double ratio = std::isfinite(found[k]) ? std::fabs(found[k] - losses_[k]) / (8 * yardstick) : INFINITY;
      if (!(ratio <= out.second)) out = {k, ratio};
    }
    return out;
  }

 private:
  llvm::ArrayRef<double> losses_;
  std::vector<double> largest_;
};
}  // namespace

llvm::Error TrainingChecker::stability() {
  constexpr uint64_t most_draws = 4;
  const llvm::ArrayRef<double> a = curve_, b = unpartitioned_;
  Sensitivity sensitivity(b);
  std::pair<size_t, double> worst;
  for (uint64_t draw = 1; draw <= most_draws; ++draw) {
    auto whole = whole_stepper(job_);
    if (!whole) return whole.takeError();
    move_weights(**whole, draw);
    std::vector<double> moved;
    if (auto e = finish(moved, **whole, /*whole=*/true)) return e;
    sensitivity.add(moved);
    worst = sensitivity.worst(a);
    if (worst.second <= 1 || !std::isfinite(worst.second)) break;
  }
  Row row{.name = "stability",
          .against = "the unpartitioned run's losses; allowed: 8 x what a last-bit change of the weights moves them",
          .values = int64_t(a.size()),
          .elements = int64_t(a.size()),
          .error = worst.second,
          .tolerance = 1};
  if (!(worst.second <= 1))
    fail(row, error(Code::difference)
                  .what("step " + llvm::Twine(worst.first + 1))
                  .what("loss")
                  .expected(llvm::formatv("{0:F7}", b[worst.first]).str())
                  .found(llvm::formatv("{0:F7}", a[worst.first]).str()));
  // Two batches are an epoch: a single batch's loss may rise while the epoch's falls.
  const double first = (a[0] + a[1]) / 2, last = (a.back() + a[a.size() - 2]) / 2;
  if (!(last < first))
    fail(row,
         error(Code::difference,
               llvm::formatv("the loss does not fall: {0} in the first epoch, {1} in the last", first, last).str()));
  row.note = llvm::formatv("an epoch's loss {0:F4} to {1:F4}", first, last).str();
  rows_.push_back(std::move(row));
  return llvm::Error::success();
}

llvm::Expected<TrainingCheck> check_training(const TrainingCheckOptions& options, const Job& forward, World& world) {
  return TrainingChecker(options, forward, world).run();
}
}  // namespace optp
