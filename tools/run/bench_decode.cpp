#include "tools/run/bench_decode.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/cached_decoder.h"
#include "tools/cli/progress.h"
#include "tools/run/bench_numbers.h"
#include "tools/run/decoder.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/machine_memory.h"

namespace optp {
namespace {
struct Prompt {
  int64_t rows = 1, tokens = 128, vocabulary = 1;
  std::vector<int64_t> ids;
};
llvm::Expected<Prompt> prompt_for(const Job& job) {
  auto ids = ids_of(*job.whole);
  if (!ids) return ids.takeError();
  Prompt out;
  for (auto [dim, extent] : {std::pair((*ids)->type.dims[0], &out.rows), {(*ids)->type.dims[1], &out.tokens}})
    if (const auto name = name_of(dim))
      if (const auto at = job.asked.find(*name); at != job.asked.end()) *extent = at->second;
  for (const InputSpec& spec : input_specs(*job.imported))
    if (spec.name == (*ids)->name) out.vocabulary = std::max<int64_t>(1, spec.rows);
  std::mt19937_64 random(1);
  for (int64_t k = 0; k < out.rows * out.tokens; ++k) out.ids.push_back(int64_t(random() % uint64_t(out.vocabulary)));
  return out;
}

struct Times {
  double first_ms = 0;
  std::vector<double> token_ms;  // ascending
  int64_t cache_bytes = 0;       // of the rank that has most
  double median_ms() const {
    const size_t n = token_ms.size();
    return n % 2 ? token_ms[n / 2] : (token_ms[n / 2 - 1] + token_ms[n / 2]) / 2;
  }
  double p90_ms() const { return token_ms[std::min(token_ms.size() - 1, size_t(double(token_ms.size()) * 0.9))]; }
};
// The text goes on with the ids of the prompt again: what is computed does not depend on which they are.
llvm::Error decode(Decoder& decoder, const Prompt& prompt, int64_t tokens, Times& times, Trace& trace) {
  if (auto e = decoder.begin(prompt.rows, prompt.tokens + tokens)) return e;
  times = {}, trace = {};
  for (int64_t k = 0; k <= tokens; ++k) {
    const int64_t count = k == 0 ? prompt.tokens : 1;
    const auto start = std::chrono::steady_clock::now();
    auto logits = decoder.take(llvm::ArrayRef<int64_t>(prompt.ids).take_front(size_t(prompt.rows * count)), count);
    if (!logits) return logits.takeError();
    const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    trace.add(k == 0 ? "prompt" : ("token " + llvm::Twine(k)).str(), decoder.last_run());
    if (k == 0)
      times.first_ms = took;
    else
      times.token_ms.push_back(took);
  }
  std::sort(times.token_ms.begin(), times.token_ms.end());
  return llvm::Error::success();
}

llvm::Error report(const BenchDecodeOptions& o, const BenchRecord& record, const Job& job, const Prompt& prompt,
                   int threads, const Times& t, const std::string& cause) {
  const auto devices = int64_t(job.ranks.size());
  const double median = t.median_ms(), a_second = double(prompt.rows) / median * 1e3;
  llvm::outs() << llvm::sys::path::filename(job.whole->source) << "  " << devices << " device"
               << (devices > 1 ? "s" : "") << " × " << threads << " thread" << (threads > 1 ? "s" : "") << "  "
               << prompt.rows << " × " << prompt.tokens << " tokens, then " << t.token_ms.size() << " more\n";
  llvm::outs() << llvm::formatv(
      "a token: median {0:f2} ms   min {1:f2}   p90 {2:f2}\n{3:f1} tokens/s   first token after {4:f2} ms   caches of "
      "{5} a device\n",
      median, t.token_ms.front(), t.p90_ms(), a_second, t.first_ms, bytes_text(double(t.cache_bytes)));
  llvm::outs() << "rank 0: " << cause << "\n";
  llvm::json::Object json{{"median_ms", median},
                          {"min_ms", t.token_ms.front()},
                          {"p90_ms", t.p90_ms()},
                          {"first_token_ms", t.first_ms},
                          {"rows", prompt.rows},
                          {"prompt_tokens", prompt.tokens},
                          {"tokens", int64_t(t.token_ms.size())},
                          {"devices", devices},
                          {"threads_per_device", threads},
                          {"tokens_per_s", number_or_null(a_second)},
                          {"cache_bytes_per_device", t.cache_bytes}};
  return record.end(job, o.job, std::move(json));
}
}  // namespace

llvm::Error bench_decode(Job& job, World& world, const BenchRecord& record, const BenchDecodeOptions& o) {
  auto prompt = prompt_for(job);
  if (!prompt) return prompt.takeError();
  if (!job.passes.kv_cache->constant()) {
    auto limit = token_limit(*job.whole);
    if (!limit) return limit.takeError();
    if (const int64_t tokens = prompt->tokens + o.tokens; *limit && (*limit)->tokens < tokens)
      return too_many_tokens(*job.whole, **limit, tokens);
  }
  DecoderOptions options{.ids = "", .threads_per_device = o.threads, .profile = true};
  options.dims = job.asked;
  auto decoder = Decoder::create(world, job, o.random_weights, std::move(options));
  if (!decoder) return decoder.takeError();
  Times times;
  Trace trace;
  // Shapes are compiled as they come: the first time is not counted.
  for (const char* what : {"warming up", "timing"}) {
    const Progress progress(what);
    if (auto e = decode(**decoder, *prompt, o.tokens, times, trace)) return e;
  }
  for (const size_t r : world.held()) times.cache_bytes = std::max(times.cache_bytes, (*decoder)->cache_bytes(r));
  const int threads = threads_for(int64_t(world.size()), o.threads);
  if (auto e = write_timeline(world, trace, o.profile, job)) return e;
  return world.at_root([&] {
    return report(o, record, job, *prompt, threads, times, cause_of((*decoder)->last_run().executable(0).profile()));
  });
}
}  // namespace optp
