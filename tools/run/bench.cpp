// bench: how fast the ranks run, and where the time goes.
#include <algorithm>
#include <chrono>

#include "frontend/io/json.h"
#include "frontend/io/output_transaction.h"
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
#include "tools/cli/progress.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/machine_memory.h"
#include "tools/run/prepare.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
struct BenchOptions {
  JobOptions job;
  std::vector<std::string> inputs;
  std::string inputs_dir, json, profile, random_weights;
  int64_t threads = 0, runs = 20, warm_up = 3;
};

llvm::Error bench(const BenchOptions& o) {
  if (o.runs < 1 || o.warm_up < 0) return error(Code::bad_value).flag("--runs").expected("at least 1");
  std::optional<Progress> progress(std::in_place, "preparing");
  auto job = make_job(o.job);
  if (!job) return job.takeError();
  if (auto e = prepare_weights(*job, o.random_weights)) return e;
  auto dims = parse_dims(o.job.dims);
  if (!dims) return dims.takeError();
  auto inputs = prepare_inputs(*job->imported, o.inputs, o.inputs_dir, *dims);
  if (!inputs) return inputs.takeError();
  std::vector<std::unique_ptr<Graph>> bound;
  std::vector<const Graph*> ranks;
  std::vector<HostArrays> arrays(job->ranks.size());
  std::vector<HostInputs> rank_inputs(job->ranks.size());
  for (size_t r = 0; r < job->ranks.size(); ++r) {
    auto g = bind_to_run(*job->ranks[r], *dims);
    if (!g) return g.takeError();
    bound.push_back(std::move(*g));
    ranks.push_back(bound.back().get());
    arrays[r] = take_shards(*inputs, *ranks.back(), job->whole->mesh, int64_t(r));
    rank_inputs[r] = inputs_of(arrays[r]);
  }
  RankThreadsOptions options;
  options.threads_per_device = threads_for(int64_t(ranks.size()), o.threads);
  auto world = RankThreads::create(ranks, options);
  if (!world) return world.takeError();
  SlowNodes slow_nodes;
  slow_nodes.add(**world);
  std::vector<HostArrays> outputs;
  std::vector<double> ms;
  progress.emplace("timing", o.warm_up + o.runs);
  for (int64_t k = 0; k < o.warm_up + o.runs; ++k) {
    progress->set(k);
    const auto start = std::chrono::steady_clock::now();
    if (auto e = (*world)->run(rank_inputs, outputs)) return e;
    const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (k >= o.warm_up) ms.push_back(took);
  }
  std::sort(ms.begin(), ms.end());
  const double median = ms.size() % 2 ? ms[ms.size() / 2] : (ms[ms.size() / 2 - 1] + ms[ms.size() / 2]) / 2;
  double flops = 0;
  int64_t parameters = 0, packed = 0, arena = 0;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const Executable& e = (*world)->executable(r);
    flops += e.flops();
    parameters += e.memory().parameter_bytes;
    packed += e.memory().packed_bytes;
    arena = std::max(arena, e.memory().arena_actual_bytes);
  }
  progress.emplace("timing each step");
  // One more run with the clock on each step: where the time goes. Its own total is a little longer.
  double in_collectives = 0, in_all = 0;
  std::string cause;
  {
    RankThreadsOptions profiled = options;
    profiled.executable.profile = true;
    world->reset();
    auto slow = RankThreads::create(ranks, profiled);
    if (!slow) return slow.takeError();
    for (int k = 0; k < 3; ++k)
      if (auto e = (*slow)->run(rank_inputs, outputs)) return e;
    for (const StepTime& s : (*slow)->executable(0).profile()) {
      in_all += s.duration_us;
      if (!s.collective.empty()) in_collectives += s.duration_us;
    }
    cause = cause_of((*slow)->executable(0).profile());
    if (!o.profile.empty()) {
      Trace trace;
      trace.add("run", **slow);
      if (auto e = trace.write(o.profile, llvm::sys::path::filename(job->whole->source))) return e;
    }
  }
  int64_t tokens = 1;
  for (const auto& [name, a] : *inputs)
    if (!is_float(a.dtype)) {
      tokens = 1;
      for (int64_t d : a.dims) tokens *= d;
      break;
    }
  const double p90 = ms[std::min(ms.size() - 1, size_t(double(ms.size()) * 0.9))];
  const double share = in_all > 0 ? in_collectives / in_all : 0;
  progress.reset();
  llvm::outs() << llvm::sys::path::filename(job->whole->source) << "  " << ranks.size() << " device"
               << (ranks.size() > 1 ? "s" : "") << " × " << options.threads_per_device << " thread"
               << (options.threads_per_device > 1 ? "s" : "") << "  " << o.runs << " runs\n";
  llvm::outs() << llvm::formatv(
      "median {0:f2} ms   min {1:f2}   p90 {2:f2}\n{3:f1} tokens/s   {4:f1} GFLOP/s   {5:f1} % in collectives (rank "
      "0)\n",
      median, ms.front(), p90, double(tokens) / median * 1e3, flops / median / 1e6, 100 * share);
  llvm::outs() << "rank 0: " << cause << "\n";
  llvm::outs() << llvm::formatv("weights {0:f1} MiB, packed {1:f1} MiB, largest arena {2:f1} MiB\n",
                                double(parameters) / (1 << 20), double(packed) / (1 << 20), double(arena) / (1 << 20));
  slow_nodes.print();
  const std::vector<std::string> refused = kernels::refused_product_forms();
  for (const std::string& form : refused)
    llvm::outs() << "oneDNN computes this product wrongly here, so our own kernel runs: " << form << "\n";
  if (o.json.empty()) return llvm::Error::success();
  llvm::json::Object json{{"median_ms", median},
                          {"min_ms", ms.front()},
                          {"p90_ms", p90},
                          {"runs", o.runs},
                          {"devices", int64_t(ranks.size())},
                          {"threads_per_device", options.threads_per_device},
                          {"tokens_per_s", number_or_null(double(tokens) / median * 1e3)},
                          {"gflop_per_s", number_or_null(flops / median / 1e6)},
                          {"collectives_share", share},
                          {"parameter_bytes", parameters},
                          {"arena_bytes", arena},
                          {"refused_products", llvm::json::Array(refused)},
                          {"slow_nodes", slow_nodes.json()}};
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}\n", llvm::json::Value(std::move(json)));
  return write_file_atomically(o.json, llvm::StringRef(text));
}
}  // namespace

Command add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* c = app.add_subcommand(
      "bench", "time a partitioned model: median, min, p90, tokens/s, GFLOP/s, share in collectives");
  add_job_options(*c, o->job);
  c->add_option("--input", o->inputs,
                "NAME=@FILE (.npy, or .pb with an ONNX tensor), NAME=rand(SEED), NAME=ones, NAME=zeros (repeatable)");
  c->add_option("--inputs-dir", o->inputs_dir,
                "folder with NAME.npy or NAME.pb for every input, or input_0.pb … as ONNX's test data have them")
      ->type_name("DIR");
  c->add_option("--threads-per-device", o->threads, "OpenMP threads per device");
  c->add_option("--runs", o->runs, "timed runs")->capture_default_str();
  c->add_option("--warm-up", o->warm_up, "untimed runs first")->capture_default_str();
  c->add_option("--json", o->json, "write the numbers to this file")->type_name("FILE");
  c->add_option("--profile", o->profile, "write one run's timeline to this file, for Perfetto")->type_name("FILE");
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {c, [o] { return bench(*o); }};
}
}  // namespace optp
