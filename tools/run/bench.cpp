// bench: how fast the ranks run, and where the time goes.
#include <algorithm>
#include <chrono>

#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/job.h"
#include "runtime/kernels/onednn_product.h"
#include "runtime/reference.h"
#include "runtime/run_ranks.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/machine.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/run/bench_decode.h"
#include "tools/run/bench_record.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/machine_memory.h"
#include "tools/run/prepare.h"
#include "tools/run/same_plan.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
struct BenchOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir, json, against, profile, random_weights;
  int64_t threads = 0, runs = 20, warm_up = 3, decode = 0;
};

// What all ranks have, added up; of arenas the largest.
struct Totals {
  double flops = 0;
  int64_t parameter_bytes = 0, packed_bytes = 0, arena_bytes = 0;
};
// Together; at the root.
llvm::Expected<Totals> totals_of(World& world, const RankThreads& ranks) {
  PerRank<std::string> own(world.held());
  for (const size_t r : world.held()) {
    const MemoryNumbers& m = ranks.executable(r).memory();
    own[r] = llvm::formatv("{0}", llvm::json::Value(llvm::json::Array{ranks.executable(r).flops(), m.parameter_bytes,
                                                                      m.packed_bytes, m.arena_actual_bytes}))
                 .str();
  }
  auto all = world.gather(std::move(own));
  if (!all) return all.takeError();
  Totals out;
  for (const size_t r : all->ranks()) {
    auto json = llvm::json::parse((*all)[r]);
    if (!json) return json.takeError();
    const llvm::json::Array* numbers = json->getAsArray();
    if (!numbers || numbers->size() != 4) return error(Code::bug, "numbers between processes are damaged");
    out.flops += (*numbers)[0].getAsNumber().value_or(0);
    out.parameter_bytes += (*numbers)[1].getAsInteger().value_or(0);
    out.packed_bytes += (*numbers)[2].getAsInteger().value_or(0);
    out.arena_bytes = std::max(out.arena_bytes, (*numbers)[3].getAsInteger().value_or(0));
  }
  return out;
}

// What is to be timed: the held ranks' graphs with their inputs.
struct Subject {
  Job job;
  HostArrays inputs;  // whole
  PerRank<std::unique_ptr<Graph>> graphs;
  PerRank<HostArrays> arrays;
};
llvm::Error prepare(const BenchOptions& o, const World& world, Subject& s) {
  if (auto e = prepare_weights(s.job, o.random_weights)) return e;
  DimValues dims = s.job.asked;
  auto inputs = prepare_inputs(*s.job.imported, o.inputs, o.inputs_dir, dims);
  if (!inputs) return inputs.takeError();
  s.inputs = std::move(*inputs);
  s.graphs = PerRank<std::unique_ptr<Graph>>(world.held()), s.arrays = PerRank<HostArrays>(world.held());
  for (const size_t r : world.held()) {
    auto g = bind_to_run(*s.job.ranks[r], dims);
    if (!g) return g.takeError();
    s.arrays[r] = take_shards(s.inputs, **g, s.job.whole->mesh, int64_t(r));
    s.graphs[r] = std::move(*g);
  }
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

// The milliseconds of each timed run, ascending, and what the ranks then hold.
struct Timed {
  std::vector<double> ms;
  Totals totals;
  SlowNodes slow;
  double median_ms() const {
    return ms.size() % 2 ? ms[ms.size() / 2] : (ms[ms.size() / 2 - 1] + ms[ms.size() / 2]) / 2;
  }
  double p90_ms() const { return ms[std::min(ms.size() - 1, size_t(double(ms.size()) * 0.9))]; }
};
llvm::Expected<Timed> time_runs(const BenchOptions& o, World& world, const Subject& s,
                                const RankThreadsOptions& options) {
  auto ranks = RankThreads::create(world, pointers_to(s.graphs), options);
  if (!ranks) return ranks.takeError();
  const PerRank<HostInputs> inputs = inputs_of(s.arrays);
  PerRank<HostArrays> outputs;
  Timed out;
  Progress progress("timing", o.warm_up + o.runs);
  for (int64_t k = 0; k < o.warm_up + o.runs; ++k) {
    progress.set(k);
    const auto start = std::chrono::steady_clock::now();
    if (auto e = (*ranks)->run(inputs, outputs)) return e;
    const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (k >= o.warm_up) out.ms.push_back(took);
  }
  std::sort(out.ms.begin(), out.ms.end());
  auto totals = totals_of(world, **ranks);
  if (!totals) return totals.takeError();
  out.totals = *totals;
  out.slow.add(**ranks);
  if (auto e = out.slow.gather(world)) return e;
  return out;
}

// One more run with the clock on each step: where rank 0's time goes. Its own total is a little longer.
struct Profile {
  double in_collectives = 0, in_all = 0;
  std::string cause;
  double share() const { return in_all > 0 ? in_collectives / in_all : 0; }
};
llvm::Expected<Profile> profile(const BenchOptions& o, World& world, const Subject& s, RankThreadsOptions options) {
  const Progress progress("timing each step");
  options.executable.profile = true;
  auto slow = RankThreads::create(world, pointers_to(s.graphs), options);
  if (!slow) return slow.takeError();
  PerRank<HostArrays> outputs;
  for (int k = 0; k < 3; ++k)
    if (auto e = (*slow)->run(inputs_of(s.arrays), outputs)) return e;
  Profile out;
  if (world.is_root()) {
    const llvm::ArrayRef<StepTime> steps = (*slow)->executable(0).profile();
    for (const StepTime& step : steps) {
      out.in_all += step.duration_us;
      if (!step.collective.empty()) out.in_collectives += step.duration_us;
    }
    out.cause = cause_of(steps);
  }
  if (o.profile.empty()) return out;
  Trace trace;
  trace.add("run", **slow);
  if (auto e = trace.gather(world)) return e;
  if (auto e = world.at_root([&] { return trace.write(o.profile, llvm::sys::path::filename(s.job.whole->source)); }))
    return e;
  return out;
}

llvm::Error report(const BenchOptions& o, const BenchRecord& record, const Subject& s, int threads, const Timed& timed,
                   const Profile& profile) {
  const auto devices = int64_t(s.job.ranks.size());
  const int64_t tokens = tokens_in(s.inputs);
  const double median = timed.median_ms(), share = profile.share();
  const Totals& t = timed.totals;
  llvm::outs() << llvm::sys::path::filename(s.job.whole->source) << "  " << devices << " device"
               << (devices > 1 ? "s" : "") << (is_default_mesh(o.job) ? " (the default)" : "") << " × " << threads
               << " thread" << (threads > 1 ? "s" : "") << "  " << o.runs << " runs\n";
  llvm::outs() << llvm::formatv(
      "median {0:f2} ms   min {1:f2}   p90 {2:f2}\n{3:f1} tokens/s   {4:f1} GFLOP/s   {5:f1} % in collectives (rank "
      "0)\n",
      median, timed.ms.front(), timed.p90_ms(), double(tokens) / median * 1e3, t.flops / median / 1e6, 100 * share);
  llvm::outs() << "rank 0: " << profile.cause << "\n";
  llvm::outs() << llvm::formatv("weights {0:f1} MiB, packed {1:f1} MiB, largest arena {2:f1} MiB\n",
                                double(t.parameter_bytes) / (1 << 20), double(t.packed_bytes) / (1 << 20),
                                double(t.arena_bytes) / (1 << 20));
  timed.slow.print();
  const std::vector<std::string> refused = kernels::refused_product_forms();
  for (const std::string& form : refused)
    llvm::outs() << "oneDNN computes this product wrongly here, so our own kernel runs: " << form << "\n";
  llvm::json::Object json{{"median_ms", median},
                          {"min_ms", timed.ms.front()},
                          {"p90_ms", timed.p90_ms()},
                          {"runs", o.runs},
                          {"devices", devices},
                          {"threads_per_device", threads},
                          {"tokens_per_s", number_or_null(double(tokens) / median * 1e3)},
                          {"gflop_per_s", number_or_null(t.flops / median / 1e6)},
                          {"collectives_share", share},
                          {"parameter_bytes", t.parameter_bytes},
                          {"arena_bytes", t.arena_bytes},
                          {"refused_products", llvm::json::Array(refused)},
                          {"slow_nodes", timed.slow.json()}};
  return record.end(s.job, o.job, std::move(json));
}

llvm::Expected<Job> job_of(const BenchOptions& o) {
  if (o.runs < 1 || o.warm_up < 0) return error(Code::bad_value).flag("--runs").expected("at least 1");
  JobOptions options = o.job;
  if (o.decode > 0) {
    if (!options.kv_cache) options.kv_cache = Dim::symbol("capacity");
    options.last_logits = true;
  }
  return make_job(options);
}
llvm::Error bench(const BenchOptions& o, const WorldMaker& make_world) {
  remark_on_compute(o.job.compute);
  std::optional<Progress> preparing(std::in_place, "preparing");
  auto job = job_of(o);
  auto made = make_world(job ? llvm::Expected<size_t>(job->ranks.size()) : job.takeError());
  if (!made) return made.takeError();
  World& world = **made;
  return world.run([&]() -> llvm::Error {
    BenchRecord record;
    if (auto e = world.at_root([&] { return record.begin(o.json, o.against); })) return e;
    if (o.decode > 0) {
      preparing.reset();
      return bench_decode(*job, world, record,
                          {.job = o.job,
                           .tokens = o.decode,
                           .threads = o.threads,
                           .random_weights = o.random_weights,
                           .profile = o.profile});
    }
    Subject subject{.job = std::move(*job)};
    if (auto e = same_plan(world, subject.job.ranks)) return e;
    if (auto e = prepare(o, world, subject)) return e;
    preparing.reset();
    RankThreadsOptions options;
    options.threads_per_device = threads_for(int64_t(world.size()), o.threads);
    auto timed = time_runs(o, world, subject, options);
    if (!timed) return timed.takeError();
    auto where = profile(o, world, subject, options);
    if (!where) return where.takeError();
    return world.at_root([&] { return report(o, record, subject, options.threads_per_device, *timed, *where); });
  });
}
}  // namespace

Command add_bench(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* c = app.add_subcommand(
      "bench", "time a partitioned model: median, min, p90, tokens/s, GFLOP/s, share in collectives");
  add_job_options(*c, o->job);
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
  also_called(c->add_option("--decode", o->decode,
                            "time N tokens, one after the other, behind a prompt of --dim sequence=… tokens")
                  ->type_name("N")
                  ->check(CLI::PositiveNumber),
              {"decode-tokens", "tokens", "max-new-tokens"});
  c->add_option("--json", o->json, "write the numbers to this file")->type_name("FILE");
  c->add_option("--against", o->against, "print the ratios to the numbers that an earlier --json wrote to this file")
      ->type_name("FILE");
  c->add_option("--profile", o->profile,
                "write one run's timeline, or that of the prompt and the tokens, to this file, for Perfetto")
      ->type_name("FILE");
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {c, [o, make_world = std::move(make_world)] { return bench(*o, make_world); }};
}
}  // namespace optp
