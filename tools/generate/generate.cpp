// generate: goes on with prompts, token after token, on the ranks of a model whose keys and values are cached.
#include <chrono>

#include "frontend/io/json.h"
#include "frontend/io/npy.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/generate/prompts.h"
#include "tools/generate/sampler.h"
#include "tools/generate/source.h"
#include "tools/run/held_ranks.h"
#include "tools/run/same_plan.h"

namespace optp {
namespace {
struct GenerateOptions {
  JobOptions job;
  std::vector<std::string> prompt_ids, inputs;
  std::string prompt_file, stop_ids, out, json, random_weights;
  std::optional<int64_t> pad;
  int64_t tokens = 32, threads = 0;
  bool no_verify = false;
  std::vector<const CLI::Option*> of_plan;  // what a folder's plan has settled
  SamplingOptions sampling;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Text {
  Prompt prompt, tokens;  // given; made
};
struct Timing {
  double to_first = 0;          // seconds, of the first batch: until its first token
  double after_first = 0;       // of all batches: from their first tokens to their last
  int64_t steps = 0, made = 0;  // after the first tokens
  int64_t cache_bytes = 0;      // of the rank that has most
};

// Goes on with prompts of one length, together. A row stops by itself; rows that a model has beyond them repeat the
// last one. Nothing follows the last new token: it needs no place in the caches.
llvm::Error go_on(Decoder& decoder, llvm::MutableArrayRef<Text*> batch, llvm::ArrayRef<int64_t> row_of,
                  const GenerateOptions& o, const Prompt& stops, const World& world, Timing& timing) {
  const auto rows = size_t(decoder.fixed_rows().value_or(int64_t(batch.size())));
  const auto length = int64_t(batch[0]->prompt.size());
  if (auto e = decoder.begin(int64_t(rows), length + o.tokens - 1)) return e;
  std::vector<int64_t> next;
  for (size_t r = 0; r < rows; ++r) llvm::append_range(next, batch[std::min(r, batch.size() - 1)]->prompt);
  std::vector<bool> done(batch.size(), false);
  const auto start = std::chrono::steady_clock::now();
  auto first = start;
  for (int64_t k = 0; k < o.tokens && llvm::is_contained(done, false); ++k) {
    auto logits = decoder.take(next, k == 0 ? length : 1);
    if (!logits) return logits.takeError();
    const size_t vocabulary = logits->size() / rows;
    next.assign(rows, 0);
    for (size_t r = 0; r < batch.size(); ++r) {
      const auto own = llvm::ArrayRef<double>(*logits).slice(r * vocabulary, vocabulary);
      next[r] = next_token(own, o.sampling, row_of[r], k);
      if (done[r]) continue;
      batch[r]->tokens.push_back(next[r]);
      done[r] = llvm::is_contained(stops, next[r]);
      timing.made += k > 0;
    }
    std::fill(next.begin() + ptrdiff_t(batch.size()), next.end(), next[batch.size() - 1]);
    if (k == 0) first = std::chrono::steady_clock::now();
    timing.steps += k > 0;
  }
  if (timing.to_first == 0) timing.to_first = std::chrono::duration<double>(first - start).count();
  timing.after_first += seconds_since(first);
  for (const size_t r : world.held()) timing.cache_bytes = std::max(timing.cache_bytes, decoder.cache_bytes(r));
  return llvm::Error::success();
}

llvm::Error write_tokens(const GenerateOptions& o, llvm::ArrayRef<Text> texts) {
  size_t longest = 0;
  for (const Text& t : texts) longest = std::max(longest, t.tokens.size());
  Array a;
  a.resize(/*floating=*/false, {int64_t(texts.size()), int64_t(longest)});
  std::fill(a.i.begin(), a.i.end(), o.pad.value_or(0));
  for (size_t r = 0; r < texts.size(); ++r)
    std::copy(texts[r].tokens.begin(), texts[r].tokens.end(), a.i.begin() + ptrdiff_t(r * longest));
  return write_npy(o.out, host_array(a, DType::i64));
}
llvm::Error report(const GenerateOptions& o, llvm::ArrayRef<Text> texts, const Timing& t) {
  for (const Text& text : texts) {
    std::string line;
    for (int64_t id : text.tokens) line += (line.empty() ? "" : ",") + std::to_string(id);
    llvm::outs() << line << "\n";
  }
  const double a_token = t.steps ? t.after_first / double(t.steps) : 0;
  const double a_second = t.after_first > 0 ? double(t.made) / t.after_first : 0;
  if (!Progress::silenced())
    llvm::errs() << llvm::formatv(
        "first token after {0:F1} ms, then {1:F2} ms a token ({2:F1} tokens/s), caches of {3} a device\n",
        t.to_first * 1e3, a_token * 1e3, a_second, bytes_text(double(t.cache_bytes)));
  if (!o.out.empty())
    if (auto e = write_tokens(o, texts)) return e;
  if (o.json.empty()) return llvm::Error::success();
  llvm::json::Object json{{"format", "opt-partition generate"},     {"version", 1},
                          {"first_token_ms", t.to_first * 1e3},     {"token_ms", a_token * 1e3},
                          {"tokens_per_second", a_second},          {"steps", t.steps},
                          {"cache_bytes_per_device", t.cache_bytes}};
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}\n", llvm::json::Value(std::move(json)));
  return write_file_atomically(o.json, llvm::StringRef(text));
}

llvm::Error check(const GenerateOptions& o) {
  if (o.tokens < 1) return error(Code::bad_value).flag("--tokens").expected("at least 1").found(o.tokens);
  if (!(o.sampling.temperature > 0))
    return error(Code::bad_value)
        .flag("--temperature")
        .expected("above 0")
        .hint("without --sample the most likely token is taken");
  if (o.sampling.top_k < 0)
    return error(Code::bad_value).flag("--top-k").expected("at least 0").found(o.sampling.top_k);
  if (!(o.sampling.top_p > 0 && o.sampling.top_p <= 1))
    return error(Code::bad_value).flag("--top-p").expected("above 0, at most 1");
  return llvm::Error::success();
}

// What prompts ask for is looked at before anything runs.
llvm::Expected<Source> checked_source(const GenerateOptions& o, llvm::ArrayRef<Text> texts) {
  auto source = source_of(o.job);
  if (!source) return source;
  size_t longest = 0;
  for (size_t r = 0; r < texts.size(); ++r) {
    longest = std::max(longest, texts[r].prompt.size());
    for (int64_t id : texts[r].prompt)
      if (auto e = has_row(*source, "prompt " + std::to_string(r), id)) return e;
  }
  if (auto e = has_room(*source, int64_t(longest) + o.tokens - 1)) return e;
  return source;
}

// Prompts of one length go together: a model need not know what padding is.
llvm::Error generate_all(const GenerateOptions& o, Source& source, std::vector<Text>& texts, const Prompt& stops,
                         World& world) {
  if (auto e = world.at_root([&] { return check_places_for_files({o.out, o.json}); })) return e;
  if (auto e = source.job ? same_plan(world, *source.job->spmd) : same_plan(world, o.job.model)) return e;
  if (source.plan && !o.no_verify)
    if (auto e = verify_held(o.job.model, *source.plan, world)) return e;
  auto decoder = decoder_of(source, world, o.inputs, o.random_weights, o.threads);
  if (!decoder) return decoder.takeError();
  std::map<size_t, std::vector<int64_t>> by_length;
  for (size_t r = 0; r < texts.size(); ++r) by_length[texts[r].prompt.size()].push_back(int64_t(r));
  Timing timing;
  for (const auto& [length, all] : by_length) {
    const auto most = size_t(std::max<int64_t>(1, (*decoder)->fixed_rows().value_or(int64_t(all.size()))));
    for (llvm::ArrayRef<int64_t> left = all; !left.empty();) {
      const llvm::ArrayRef<int64_t> rows = left.take_front(most);
      llvm::SmallVector<Text*, 8> batch;
      for (int64_t r : rows) batch.push_back(&texts[size_t(r)]);
      if (auto e = go_on(**decoder, batch, rows, o, stops, world, timing)) return e;
      left = left.drop_front(rows.size());
    }
  }
  return world.at_root([&] { return report(o, texts, timing); });
}

// A folder's plan says how many ranks there are; of a model the graphs of those that run here are made.
llvm::Expected<std::pair<std::unique_ptr<World>, Source>> begin(GenerateOptions& o, llvm::ArrayRef<Text> texts,
                                                                const WorldMaker& make_world) {
  using Begun = std::pair<std::unique_ptr<World>, Source>;
  if (is_partitioned(o.job.model)) {
    auto source = checked_source(o, texts);
    auto world = make_world(source ? llvm::Expected<size_t>(source->devices()) : source.takeError());
    if (!world) return world.takeError();
    return Begun{std::move(*world), std::move(*source)};
  }
  auto world = make_world(devices_of(o.job));
  if (!world) return world.takeError();
  o.job.ranks.emplace((*world)->held().begin(), (*world)->held().end());
  auto source = checked_source(o, texts);
  if (auto e = (*world)->agree(source ? llvm::Error::success() : source.takeError())) return e;
  return Begun{std::move(*world), std::move(*source)};
}

llvm::Error generate(GenerateOptions o, const WorldMaker& make_world) {
  if (auto e = check(o)) return e;
  if (is_partitioned(o.job.model))
    for (const CLI::Option* option : o.of_plan)
      if (option->count() > 0)
        return error(Code::bad_value)
            .flag(option->get_name())
            .what("is settled by the plan of " + quoted(o.job.model))
            .hint("give the model's file, or partition it anew");
  auto prompts = read_prompts(o.prompt_ids, o.prompt_file, o.pad);
  if (!prompts) return prompts.takeError();
  Prompt stops;
  if (!o.stop_ids.empty()) {
    auto ids = parse_ids("--stop-ids", o.stop_ids);
    if (!ids) return ids.takeError();
    stops = std::move(*ids);
  }
  std::vector<Text> texts;
  for (Prompt& p : *prompts) texts.push_back({std::move(p), {}});
  if (!o.job.kv_cache) o.job.kv_cache = Dim::symbol("capacity");
  o.job.last_logits = true;
  auto begun = begin(o, texts, make_world);
  if (!begun) return begun.takeError();
  auto& [world, source] = *begun;
  return world->run([&] { return generate_all(o, source, texts, stops, *world); });
}
}  // namespace

Command add_generate(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<GenerateOptions>();
  CLI::App* c = app.add_subcommand("generate", "continue prompts, token after token, with cached keys and values");
  add_job_options(*c, o->job);
  add_kv_cache_option(*c, o->job);
  for (const CLI::Option* option : c->get_options())
    if (option != c->get_option("model") && option != c->get_help_ptr()) o->of_plan.push_back(option);
  c->get_option("model")->description(
      "ONNX file, a folder that holds one, or a folder written by partition --kv-cache");
  also_called(c->add_option("--prompt-ids", o->prompt_ids, "a prompt's ids, between commas; repeatable: a row each")
                  ->type_name("IDS")
                  ->allow_extra_args(false),
              {"prompt", "input-ids", "ids"});
  c->add_option("--prompt-file", o->prompt_file, "prompts as integers, [n] or [rows, n]")->type_name("FILE.npy");
  also_called(c->add_option("--pad-id", o->pad, "the id that fills shorter rows, of the file and of what is written"),
              {"pad-token-id"});
  also_called(c->add_option("--tokens", o->tokens, "how many to make at most, in each row")->capture_default_str(),
              {"max-new-tokens", "max-tokens", "new-tokens", "n-predict"});
  also_called(c->add_option("--stop-ids", o->stop_ids, "ids that end a row")->type_name("IDS"),
              {"eos-token-id", "eos-id", "stop"});
  c->add_option("--input", o->inputs,
                "NAME=@FILE.npy, NAME=zeros …: an input that is the same in each step, such as weights (repeatable)")
      ->allow_extra_args(false);
  c->add_flag("--no-verify", o->no_verify,
              "of a folder: do not compare the files with the manifest's sizes and hashes");
  CLI::Option* sample =
      c->add_flag("--sample", o->sampling.sample, "draw tokens by their likelihood; else the most likely one is taken");
  c->add_option("--temperature", o->sampling.temperature, "with --sample: logits are divided by it")
      ->needs(sample)
      ->capture_default_str();
  c->add_option("--top-k", o->sampling.top_k, "with --sample: only the K most likely; 0: all")
      ->needs(sample)
      ->capture_default_str();
  c->add_option("--top-p", o->sampling.top_p, "with --sample: only the fewest whose probabilities reach P")
      ->needs(sample)
      ->capture_default_str();
  c->add_option("--seed", o->sampling.seed, "with --sample; the same tokens on any number of devices")
      ->needs(sample)
      ->capture_default_str();
  c->add_option("-o,--output,--out", o->out, "write the tokens that were made, [rows, n] of int64")
      ->type_name("FILE.npy");
  c->add_option("--json", o->json, "write the times to this file")->type_name("FILE");
  also_called(c->add_option("--threads-per-device", o->threads, "OpenMP threads per device"),
              {"threads", "num-threads", "omp-threads"});
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {.app = c,
          .run = [o, make_world = std::move(make_world)] { return generate(*o, make_world); },
          .runs_ranks = true};
}
}  // namespace optp
