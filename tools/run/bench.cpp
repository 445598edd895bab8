// bench: how fast the ranks run, and where the time goes.
#include <algorithm>
#include <chrono>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "passes/plan/job.h"
#include "runtime/run_ranks.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/machine.h"
#include "tools/cli/progress.h"
#include "tools/cli/refused.h"
#include "tools/cli/suggestions.h"
#include "tools/run/bench_decode.h"
#include "tools/run/bench_numbers.h"
#include "tools/run/bench_record.h"
#include "tools/run/bench_train.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/machine_memory.h"
#include "tools/run/prepare.h"
#include "tools/run/same_plan.h"

namespace optp {
namespace {
struct BenchOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir, json, against, profile, random_weights;
  int64_t threads = 0, runs = 20, warm_up = 3, decode = 0;
};

// What is to be timed: the held ranks' graphs with their inputs.
struct Subject {
  Job job;
  HostArrays inputs;  // whole
  PerRank<std::unique_ptr<Graph>> graphs;
  PerRank<HostArrays> arrays;
  PerRank<llvm::StringSet<>> unread;  // outputs: a run reads each once
};
llvm::Error prepare(const BenchOptions& o, const World& world, Subject& s) {
  if (auto e = prepare_weights(s.job, o.random_weights)) return e;
  DimValues dims = s.job.asked;
  auto inputs = prepare_inputs(*s.job.imported, o.inputs, o.inputs_dir, dims);
  if (!inputs) return inputs.takeError();
  s.inputs = std::move(*inputs);
  s.graphs = PerRank<std::unique_ptr<Graph>>(world.held()), s.arrays = PerRank<HostArrays>(world.held());
  s.unread = PerRank<llvm::StringSet<>>(world.held());
  for (const size_t r : world.held()) {
    auto g = bind_to_run(*s.job.ranks[r], dims);
    if (!g) return g.takeError();
    s.arrays[r] = take_shards(s.inputs, **g, s.job.whole->mesh, int64_t(r));
    s.unread[r] = copied_outputs(**g, s.job.whole->mesh, int64_t(r));
    s.graphs[r] = std::move(*g);
  }
  let_go_of_compilation(s.job);
  return llvm::Error::success();
}
// Of the first input of ids.
int64_t tokens_in(const HostArrays& inputs) {
  for (const auto& [name, a] : inputs)
    if (!is_float(a.dtype)) {
      int64_t tokens = 1;
      for (int64_t d : a.dims) tokens *= d;
      return tokens;
    }
  return 1;
}

llvm::Error time_runs(const BenchOptions& o, World& world, const Subject& s, const RankThreadsOptions& options,
                      BenchResult& out) {
  auto ranks = RankThreads::create(world, pointers_to(s.graphs), options);
  if (!ranks) return ranks.takeError();
  const PerRank<HostInputs> inputs = inputs_of(s.arrays);
  PerRank<HostArrays> outputs;
  Progress progress("timing", o.warm_up + o.runs);
  for (int64_t k = 0; k < o.warm_up + o.runs; ++k) {
    progress.set(k);
    const auto start = std::chrono::steady_clock::now();
    if (auto e = (*ranks)->run(inputs, outputs)) return e;
    const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (k >= o.warm_up) out.times.ms.push_back(took);
  }
  std::sort(out.times.ms.begin(), out.times.ms.end());
  auto totals = totals_of(world, **ranks);
  if (!totals) return totals.takeError();
  out.totals = *totals;
  out.slow.add(**ranks);
  return out.slow.gather(world);
}

// One more run with the clock on each step: where rank 0's time goes. Its own total is a little longer.
llvm::Error profile(const BenchOptions& o, World& world, const Subject& s, RankThreadsOptions options,
                    BenchResult& out) {
  const Progress progress("timing each step");
  options.executable.profile = true;
  auto slow = RankThreads::create(world, pointers_to(s.graphs), options);
  if (!slow) return slow.takeError();
  PerRank<HostArrays> outputs;
  for (int k = 0; k < 3; ++k)
    if (auto e = (*slow)->run(inputs_of(s.arrays), outputs)) return e;
  if (world.is_root()) out.profile = BenchProfile::of((*slow)->executable(0).profile());
  Trace trace;
  trace.add("run", **slow);
  return write_timeline(world, trace, o.profile, s.job);
}

llvm::Expected<Job> job_of(const BenchOptions& o, llvm::ArrayRef<size_t> held) {
  if (auto e = can_compute(o.job.compute)) return e;
  if (o.runs < 1) return error(Code::bad_value).flag("--runs").expected("at least 1");
  if (o.warm_up < 0) return error(Code::bad_value).flag("--warm-up").expected("at least 0");
  JobOptions options = o.job;
  options.ranks.emplace(held.begin(), held.end());
  if (o.decode > 0) {
    if (!options.kv_cache) options.kv_cache = Dim::symbol("capacity");
    options.last_logits = true;
  }
  return make_job(options);
}
llvm::Error bench(const BenchOptions& o, const WorldMaker& make_world) {
  remark_on_compute(o.job.compute);
  std::optional<Progress> preparing(std::in_place, "preparing");
  auto made = make_world(devices_of(o.job));
  if (!made) return made.takeError();
  World& world = **made;
  auto job = job_of(o, world.held());
  if (auto e = world.agree(job ? llvm::Error::success() : job.takeError())) return e;
  return world.run([&]() -> llvm::Error {
    BenchRecord record;
    const auto begin = [&]() -> llvm::Error {
      if (auto e = check_places_for_files({o.json, o.profile})) return e;
      return record.begin(o.json, o.against);
    };
    if (auto e = world.at_root(begin)) return e;
    if (o.decode > 0) {
      preparing.reset();
      return bench_decode(*job, world, record,
                          {.job = o.job,
                           .tokens = o.decode,
                           .threads = o.threads,
                           .random_weights = o.random_weights,
                           .profile = o.profile});
    }
    if (auto e = same_plan(world, *job->spmd)) return e;
    if (o.job.train) {
      preparing.reset();
      return bench_training(*job, world, record,
                            {.job = o.job,
                             .inputs = o.inputs,
                             .inputs_dir = o.inputs_dir,
                             .runs = o.runs,
                             .warm_up = o.warm_up,
                             .threads = o.threads,
                             .random_weights = o.random_weights,
                             .profile = o.profile});
    }
    Subject subject{.job = std::move(*job)};
    if (auto e = prepare(o, world, subject)) return e;
    preparing.reset();
    RankThreadsOptions options;
    options.threads_per_device = threads_for(int64_t(world.size()), o.threads);
    options.unread = &subject.unread;
    BenchResult result;
    result.threads = options.threads_per_device, result.tokens = tokens_in(subject.inputs);
    if (auto e = time_runs(o, world, subject, options, result)) return e;
    if (auto e = profile(o, world, subject, options, result)) return e;
    return world.at_root([&] { return report(record, subject.job, o.job, result); });
  });
}
}  // namespace

Command add_bench(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* c = app.add_subcommand(
      "bench", "time a partitioned model, its training step, or its next tokens: median, min, p90, tokens/s, GFLOP/s");
  add_job_options(*c, o->job);
  add_outputs_option(*c, o->job);
  add_kv_cache_option(*c, o->job);
  CLI::Option* train = c->add_flag("--train", o->job.train, "time training steps on one batch");
  add_training_options(*c, o->job, train);
  c->add_option("--input", o->inputs, input_help);
  c->add_option("--inputs-dir", o->inputs_dir,
                "folder with NAME.npy or NAME.pb for every input, or input_0.pb … as ONNX's test data have them")
      ->type_name("DIR");
  also_called(c->add_option("--threads-per-device", o->threads, "OpenMP threads per device"),
              {"threads", "num-threads", "omp-threads"});
  also_called(c->add_option("--runs", o->runs, "timed runs")->capture_default_str(),
              {"iterations", "iters", "repeats", "steps"});
  also_called(c->add_option("--warm-up", o->warm_up, "untimed runs first")->capture_default_str(),
              {"warmup", "warmup-runs"});
  also_called(c->add_option_function<int64_t>(
                   "--decode", [o](int64_t tokens) { o->decode = at_least_one("--decode", tokens); },
                   "time N tokens, one after the other, after a prompt of --dim sequence=… tokens")
                  ->type_name("N")
                  ->excludes(train),
              {"decode-tokens", "tokens", "max-new-tokens"});
  c->add_option("--json", o->json, "write the numbers to this file")->type_name("FILE");
  c->add_option("--against", o->against, "print the ratios to the numbers that an earlier --json wrote to this file")
      ->type_name("FILE");
  c->add_option("--profile", o->profile,
                "write the timeline of a run, a step, or the prompt and the tokens to this file, for Perfetto")
      ->type_name("FILE");
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {
      .app = c, .run = [o, make_world = std::move(make_world)] { return bench(*o, make_world); }, .runs_ranks = true};
}
}  // namespace optp
