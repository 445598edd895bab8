#include "tools/run/bench_train.h"

#include <algorithm>
#include <chrono>

#include "frontend/ir/diagnostic.h"
#include "passes/training.h"
#include "tools/cli/progress.h"
#include "tools/run/bench_numbers.h"
#include "tools/run/example_batches.h"
#include "tools/run/execution.h"
#include "tools/run/prepare.h"
#include "tools/run/stepper.h"

namespace optp {
namespace {
// Milliseconds.
llvm::Expected<double> time_step(Stepper& stepper, const DimValues& dims, const PerRank<HostArrays>& inputs,
                                 const TrainingOptions& training) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t m = 1; m < training.accumulate; ++m)
    if (auto e = stepper.accumulate(dims, inputs)) return e;
  if (auto loss = stepper.step(dims, inputs, *training.learning_rate); !loss) return loss.takeError();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}
}  // namespace

llvm::Error bench_training(Job& job, World& world, const BenchRecord& record, const BenchTrainOptions& o) {
  std::optional<Progress> preparing(std::in_place, "preparing");
  if (auto e = prepare_weights(job, o.random_weights)) return e;
  DimValues dims = job.asked;
  auto batches = make_example_batches(job, o.inputs, o.inputs_dir, dims, world.held());
  if (!batches) return batches.takeError();
  const ExampleBatch& batch = batches->front();
  BenchResult result;
  result.threads = threads_for(int64_t(world.size()), o.threads);
  PerRank<std::unique_ptr<Graph>> graphs(world.held());
  for (const size_t r : world.held()) graphs[r] = std::move(job.ranks[r]);
  auto stepper = Stepper::create(world, std::move(graphs),
                                 {.threads_per_device = o.threads, .profile = true, .slow = &result.slow});
  if (!stepper) return stepper.takeError();
  let_go_of_compilation(job);
  preparing.reset();

  const TrainingOptions training = training_of(o.job);
  Trace trace;
  Progress progress("timing", o.warm_up + o.runs);
  for (int64_t k = 0; k < o.warm_up + o.runs; ++k) {
    progress.set(k);
    auto took = time_step(**stepper, dims, batch.ranks, training);
    if (!took) return took.takeError();
    if (k >= o.warm_up) result.times.ms.push_back(*took);
  }
  std::sort(result.times.ms.begin(), result.times.ms.end());
  const RankThreads& last = *(*stepper)->last_run();
  trace.add("step", last);
  auto totals = totals_of(world, last, [&](size_t r) {
    int64_t bytes = 0;
    for (const Update& u : (*stepper)->graph(r).updates) bytes += int64_t((*stepper)->values(r)[u.input].bytes.size());
    return bytes;
  });
  if (!totals) return totals.takeError();
  result.totals = *totals;
  result.totals.flops *= double(training.accumulate);
  result.tokens = training.accumulate * count_of(batch.whole.find(labels_name)->second.dims);
  if (world.is_root()) result.profile = BenchProfile::of(last.executable(0).profile());
  if (auto e = result.slow.gather(world)) return e;
  if (auto e = write_timeline(world, trace, o.profile, job)) return e;
  return world.at_root([&] { return report(record, job, o.job, result); });
}
}  // namespace optp
