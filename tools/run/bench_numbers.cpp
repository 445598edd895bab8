#include "tools/run/bench_numbers.h"

#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/kernels/onednn_product.h"

namespace optp {
llvm::Expected<BenchTotals> totals_of(World& world, const RankThreads& ranks,
                                      llvm::function_ref<int64_t(size_t)> kept) {
  PerRank<BenchTotals> own(world.held());
  for (const size_t r : world.held()) {
    const MemoryNumbers& m = ranks.executable(r).memory();
    own[r] = {ranks.executable(r).flops(), m.parameter_bytes + kept(r), m.packed_bytes, m.arena_actual_bytes};
  }
  auto all = world.gather_numbers(own);
  if (!all) return all.takeError();
  BenchTotals out;
  for (const size_t r : all->ranks()) {
    const BenchTotals& one = (*all)[r];
    out.flops += one.flops, out.parameter_bytes += one.parameter_bytes, out.packed_bytes += one.packed_bytes;
    out.arena_bytes = std::max(out.arena_bytes, one.arena_bytes);
  }
  return out;
}

BenchProfile BenchProfile::of(llvm::ArrayRef<StepTime> steps) {
  BenchProfile out;
  for (const StepTime& step : steps) {
    out.in_all += step.duration_us;
    if (!step.collective.empty()) out.in_collectives += step.duration_us;
  }
  out.cause = cause_of(steps);
  return out;
}

llvm::Error write_timeline(World& world, Trace& trace, const std::string& file, const Job& job) {
  if (file.empty()) return llvm::Error::success();
  if (auto e = trace.gather(world)) return e;
  return world.at_root([&] { return trace.write(file, llvm::sys::path::filename(job.whole->source)); });
}

llvm::Error report(const BenchRecord& record, const Job& job, const JobOptions& options, const BenchResult& r) {
  const auto devices = int64_t(job.ranks.size());
  const double median = r.times.median(), a_second = double(r.tokens) / median * 1e3,
               gflops = r.totals.flops / median / 1e6;
  llvm::outs() << llvm::sys::path::filename(job.whole->source) << "  " << devices << " device"
               << (devices > 1 ? "s" : "") << (is_default_mesh(options) ? " (the default)" : "") << " × " << r.threads
               << " thread" << (r.threads > 1 ? "s" : "") << "  " << r.times.ms.size()
               << (options.train ? " training steps\n" : " runs\n");
  llvm::outs() << llvm::formatv(
      "median {0:f2} ms   min {1:f2}   p90 {2:f2}\n{3:f1} tokens/s   {4:f1} GFLOP/s   {5:f1} % in collectives (rank "
      "0)\n",
      median, r.times.ms.front(), r.times.p90(), a_second, gflops, 100 * r.profile.share());
  llvm::outs() << "rank 0: " << r.profile.cause << "\n";
  llvm::outs() << llvm::formatv("{3} {0:f1} MiB, packed {1:f1} MiB, largest arena {2:f1} MiB\n",
                                double(r.totals.parameter_bytes) / (1 << 20), double(r.totals.packed_bytes) / (1 << 20),
                                double(r.totals.arena_bytes) / (1 << 20),
                                options.train ? "parameters and state" : "weights");
  r.slow.print();
  const std::vector<std::string> refused = kernels::refused_product_forms();
  for (const std::string& form : refused)
    llvm::outs() << "oneDNN computes this product wrongly here, so our own kernel runs: " << form << "\n";
  return record.end(job, options,
                    llvm::json::Object{{"median_ms", median},
                                       {"min_ms", r.times.ms.front()},
                                       {"p90_ms", r.times.p90()},
                                       {"runs", int64_t(r.times.ms.size())},
                                       {"devices", devices},
                                       {"threads_per_device", r.threads},
                                       {"tokens_per_s", number_or_null(a_second)},
                                       {"gflop_per_s", number_or_null(gflops)},
                                       {"collectives_share", r.profile.share()},
                                       {"parameter_bytes", r.totals.parameter_bytes},
                                       {"arena_bytes", r.totals.arena_bytes},
                                       {"refused_products", llvm::json::Array(refused)},
                                       {"slow_nodes", r.slow.json()}});
}
}  // namespace optp
