// train: a partitioned model on a file of tokens or on folders of arrays, step by step, with checkpoints that a later
// run goes on from.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "frontend/io/interrupts.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/make_plan.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/run/draw_weights.h"
#include "tools/run/labels.h"
#include "tools/run/stepper.h"
#include "tools/run/trace.h"
#include "tools/train/checkpoint.h"
#include "tools/train/learning_rate.h"
#include "tools/train/loss_plot.h"
#include "tools/train/training_data.h"
#include "tools/train/training_log.h"

namespace optp {
namespace {
using Clock = std::chrono::steady_clock;

struct TrainOptions {
  JobOptions job;
  std::string data, token_type = "uint16", inputs_dir, save, resume, log, plot, profile;
  std::optional<int64_t> batch, sequence, epochs, warmup;
  std::optional<uint64_t> seed;
  std::optional<std::string> schedule;
  int64_t max_steps = 0, save_every = 0, threads = 0;
  bool rewind = false, overwrite = false;
  std::function<bool(const char*)> given;  // was this flag on the command line?
};

llvm::Error at_least(const char* flag, std::optional<int64_t> n, int64_t least) {
  if (n && *n < least) return error(Code::bad_value).flag(flag, *n).expected("at least " + llvm::Twine(least));
  return llvm::Error::success();
}
llvm::Error check(const TrainOptions& o) {
  if (o.data.empty() == o.inputs_dir.empty())
    return error(Code::missing)
        .flag("--data", "FILE or --inputs-dir DIR")
        .expected("one of them")
        .found(o.data.empty() ? "none" : "both");
  if (o.data.empty() && o.given("--token-type"))
    return error(Code::bad_value).flag("--token-type").what("goes with --data");
  if (o.save.empty() && o.resume.empty())
    return error(Code::missing).flag("--save", "DIR").expected("a folder for the checkpoints").found("none");
  for (auto [flag, n, least] : {std::tuple{"--batch", o.batch, 1},
                                {"--sequence", o.sequence, 2},
                                {"--epochs", o.epochs, 1},
                                {"--warmup", o.warmup, 0}})
    if (auto e = at_least(flag, n, least)) return e;
  for (auto [flag, n] :
       {std::pair{"--max-steps", o.max_steps}, {"--save-every", o.save_every}, {"--threads-per-device", o.threads}})
    if (o.given(flag))
      if (auto e = at_least(flag, n, 1)) return e;
  if (o.rewind && o.resume.empty()) return error(Code::bad_value).flag("--rewind").what("goes with --resume");
  return llvm::Error::success();
}

std::string list_of(llvm::ArrayRef<std::string> patterns) {
  std::string out;
  for (const std::string& p : patterns) out += (out.empty() ? "" : ", ") + quoted(p);
  return out.empty() ? "none" : out;
}
// What the command line leaves open is as the checkpoint has it; another optimizer is another run.
llvm::Error take_from(const Checkpoint& from, const TrainOptions& o, JobOptions& job) {
  const RunRecord& run = from.run();
  TrainingOptions& t = job.training;
  OptimizerOptions asked = run.optimizer;
  if (o.given("--optimizer")) asked.name = t.optimizer.name;
  if (o.given("--betas")) asked.beta1 = job.betas[0], asked.beta2 = job.betas[1];
  for (auto [flag, member] : {std::pair{"--momentum", &OptimizerOptions::momentum},
                              {"--weight-decay", &OptimizerOptions::weight_decay},
                              {"--eps", &OptimizerOptions::epsilon},
                              {"--alpha", &OptimizerOptions::alpha}})
    if (o.given(flag)) asked.*member = t.optimizer.*member;
  if (o.given("--nesterov")) asked.nesterov = true;
  if (o.given("--centered")) asked.centered = true;
  if (!same_optimizer(asked, run.optimizer))
    return error(Code::bad_checkpoint)
        .in_file(from.folder())
        .what("optimizer")
        .expected(describe(asked) + ", as the command line says")
        .found(describe(run.optimizer));
  if (o.given("--no-decay") && t.no_decay != run.no_decay)
    return error(Code::bad_checkpoint)
        .in_file(from.folder())
        .flag("--no-decay")
        .expected(list_of(t.no_decay) + ", as the command line says")
        .found(list_of(run.no_decay));
  t.optimizer = run.optimizer, t.no_decay = run.no_decay;
  job.betas.clear();
  if (!o.given("--lr")) t.learning_rate = run.learning_rate;
  if (!o.given("--accumulate")) t.accumulate = run.accumulate;
  if (!o.given("--max-grad-norm")) t.max_gradient_norm = run.max_gradient_norm;
  if (!o.given("--freeze")) t.freeze = run.freeze;
  if (!o.given("--trainable")) t.trainable = run.trainable;
  return llvm::Error::success();
}

std::string frozen_blake3(const Graph& graph) {
  std::string text;
  for (const Value* v : graph.data())
    if (v->is_parameter && v->frozen) text += v->name + '\0' + blake3_of(v->data->bytes) + '\n';
  return blake3_of(llvm::ArrayRef<char>(text.data(), text.size()));
}

// A checkpoint's arrays become what the ranks hold, however many there were and are.
llvm::Error restore(const Checkpoint& from, llvm::ArrayRef<Port> held, Stepper& stepper) {
  for (const Port& p : held) {
    const CheckpointTensor* tensor = from.find(p.name);
    if (!tensor)
      return error(Code::bad_checkpoint)
          .in_file(from.folder())
          .what("it has no tensor " + quoted(p.name) + ", which this training has")
          .about({.tensor = p.name});
    llvm::SmallVector<int64_t, 4> dims;
    for (Dim d : p.dims) dims.push_back(d.constant().value_or(-1));
    const Where place{file_place(from.folder()), tensor_place("tensor", p.name)};
    if (tensor->dtype != p.dtype)
      return error(Code::dtype_mismatch)
          .at(place)
          .what("dtype")
          .expected(long_name(p.dtype))
          .found(long_name(tensor->dtype));
    if (tensor->dims != dims)
      return error(Code::shape_mismatch).at(place).what("shape").expected(to_string(p.dims)).found("another");
    auto whole = from.whole(*tensor);
    if (!whole) return whole.takeError();
    for (size_t r = 0; r < stepper.ranks(); ++r) {
      auto shard = shard_of(p, r, {});
      if (!shard) return shard.takeError();
      stepper.values(r)[p.name] = take(*shard, *whole);
    }
  }
  for (const CheckpointTensor& t : from.tensors())
    if (llvm::none_of(held, [&](const Port& p) { return p.name == t.name; }))
      return error(Code::bad_checkpoint)
          .in_file(from.folder())
          .tensor("tensor", t.name)
          .what("this training has none of that name");
  return llvm::Error::success();
}

// A folder of checkpoints. One transaction is open at all times, so that no other run writes there meanwhile.
class Saver {
 public:
  static llvm::Expected<Saver> open(const TrainOptions& o, std::string folder, std::vector<FileId> inputs) {
    Saver out;
    out.folder_ = std::move(folder);
    out.options_ = {.overwrite = o.overwrite, .inputs = std::move(inputs), .despite_signals = true};
    std::error_code ignored;
    out.resumed_ = !o.resume.empty() && std::filesystem::equivalent(out.folder_, o.resume, ignored);
    if (!out.resumed_ && !o.overwrite && std::filesystem::is_directory(out.folder_, ignored) &&
        !std::filesystem::is_empty(out.folder_, ignored))
      return error(Code::occupied)
          .in_file(out.folder_)
          .what("the folder is not empty")
          .hint("give --resume " + out.folder_ + " to go on from a checkpoint, --overwrite to lose what is there");
    if (auto e = out.begin()) return e;
    return out;
  }
  const std::string& folder() const { return folder_; }
  bool resumed() const { return resumed_; }  // is it the folder that the run goes on from?
  int64_t saved_step() const { return saved_; }
  llvm::Error save(const RunRecord& run, const Graph& whole, llvm::ArrayRef<Port> held, Stepper& stepper) {
    if (auto e = write_checkpoint(
            *transaction_, run, whole, held, stepper.ranks(),
            [&](size_t r, llvm::StringRef name) -> const HostArray& { return stepper.values(r).find(name)->second; }))
      return e;
    if (auto e = transaction_->commit()) return e;
    saved_ = run.step;
    return begin();
  }

 private:
  llvm::Error begin() {
    transaction_.reset();
    auto next = OutputTransaction::begin(folder_, options_);
    if (!next) return next.takeError();
    transaction_.emplace(std::move(*next));
    return llvm::Error::success();
  }
  std::string folder_;
  OutputOptions options_;
  std::optional<OutputTransaction> transaction_;
  int64_t saved_ = -1;
  bool resumed_ = false;
};

std::string time_text(double seconds) {
  const auto s = int64_t(seconds);
  return s < 3600 ? llvm::formatv("{0}:{1}{2}", s / 60, s % 60 < 10 ? "0" : "", s % 60).str()
                  : llvm::formatv("{0} h {1} min", s / 3600, s / 60 % 60).str();
}

llvm::Error train(const TrainOptions& o) {
  if (auto e = check(o)) return e;
  const DeferInterrupts defer;  // a signal ends the step that runs, and saves
  std::optional<Progress> preparing(std::in_place, "preparing");
  JobOptions job_options = o.job;
  job_options.train = true;
  std::optional<Checkpoint> from;
  if (!o.resume.empty()) {
    auto opened = Checkpoint::open(o.resume);
    if (!opened) return opened.takeError();
    from.emplace(std::move(*opened));
    if (auto e = take_from(*from, o, job_options)) return e;
  }

  auto model_file = open_input_file(o.job.model);
  if (!model_file) return model_file.takeError();
  RunRecord run = from ? from->run() : RunRecord();
  run.model_path = std::filesystem::absolute(o.job.model).string();
  run.model_blake3 = blake3_of((*model_file)->bytes());
  if (from && run.model_blake3 != from->run().model_blake3)
    return error(Code::hash_mismatch)
        .in_file(from->folder())
        .what("a checkpoint of another model, " + quoted(from->run().model_path))
        .what("BLAKE3")
        .expected(run.model_blake3 + " of " + quoted(o.job.model))
        .found(from->run().model_blake3);
  std::vector<FileId> inputs{(*model_file)->id()};
  model_file->reset();

  auto job = make_job(job_options);
  if (!job) return job.takeError();
  if (auto e = need_weights(*job->whole)) return e;
  const TrainingOptions& training = job->training;
  run.frozen_blake3 = frozen_blake3(*job->whole);
  if (from && run.frozen_blake3 != from->run().frozen_blake3)
    return error(Code::bad_checkpoint)
        .in_file(from->folder())
        .what("the parameters that are not trained are others than the checkpoint's");
  run.mesh = to_string(job->whole->mesh), run.strategy = job->passes.strategy;
  run.optimizer = training.optimizer, run.learning_rate = *training.learning_rate,
  run.max_gradient_norm = training.max_gradient_norm, run.accumulate = training.accumulate;
  run.trainable = training.trainable, run.freeze = training.freeze, run.no_decay = training.no_decay;

  auto dims = parse_dims(o.job.dims);
  if (!dims) return dims.takeError();
  const Plan plan = make_plan(*job, example_dims(*job->whole, *dims), OPTP_VERSION, /*weights=*/false);
  std::vector<Port> fed, held;
  for (const Port& p : plan.inputs)
    if (p.role == Plan::Role::data || p.role == Plan::Role::labels)
      fed.push_back(p);
    else if (p.role != Plan::Role::learning_rate && p.role != Plan::Role::accumulated)
      held.push_back(p);  // sums over micro-batches are zero between steps

  const uint64_t seed = o.seed.value_or(from ? run.position.seed : 0);
  DataOptions data_options{.model = o.job.model,
                           .tokens = o.data,
                           .token_type = o.token_type,
                           .folders = o.inputs_dir,
                           .dims = o.job.dims,
                           .batch = {o.batch, std::nullopt},
                           .length = {o.sequence, std::nullopt},
                           .seed = seed};
  if (from && run.position.length > 0)
    data_options.batch.before = run.batch, data_options.length.before = run.position.length;
  auto data = TrainingData::open(data_options, std::move(fed), job->ranks.size());
  if (!data) return data.takeError();
  inputs.insert(inputs.end(), data->files().begin(), data->files().end());
  for (auto [flag, path] : {std::pair{"--log", &o.log}, {"--plot", &o.plot}, {"--profile", &o.profile}})
    for (const FileId& id : inputs)
      if (!path->empty() && same_file(*path, id.device, id.inode))
        return error(Code::is_an_input).flag(flag, *path).what("it is an input of this run").about({.file = *path});
  DataPosition position{.seed = seed, .length = data->length(), .path = data->path(), .blake3 = data->blake3()};
  if (from && !o.rewind) {
    const DataPosition& before = from->run().position;
    const auto differs = [&](const llvm::Twine& what) {
      return error(Code::bad_checkpoint)
          .in_file(from->folder())
          .what(what)
          .hint("--rewind begins with the data's first epoch");
    };
    if (position.blake3 != before.blake3) return differs("it is in the middle of other data, " + quoted(before.path));
    if (position.length != before.length)
      return differs("sequences of " + llvm::Twine(before.length) + " tokens")
          .found("--sequence " + llvm::Twine(position.length));
    if (position.seed != before.seed)
      return differs("data in the order of --seed " + llvm::Twine(before.seed)).found(position.seed);
    position.epoch = before.epoch, position.batch = before.batch, position.sequence = before.sequence;
  }
  run.position = position;
  run.batch = data->batch(), run.epochs = o.epochs.value_or(from ? run.epochs : 1);
  if (position.sequence >= data->count())
    return error(Code::bad_checkpoint)
        .in_file(from->folder() + "/checkpoint.json")
        .what("position")
        .expected("a sequence below " + llvm::Twine(data->count()))
        .found(position.sequence);
  auto schedule = parse_schedule(o.schedule.value_or(from ? run.schedule : "constant"));
  if (!schedule) return schedule.takeError();
  run.schedule = to_string(*schedule).str();
  run.warmup_steps = o.warmup.value_or(run.warmup_steps);
  const int64_t step_rows = run.batch * training.accumulate;
  auto batches_of = [&](int64_t n) { return (n + step_rows - 1) / step_rows; };
  const int64_t left = position.epoch >= run.epochs ? 0
                                                    : batches_of(data->count() - position.sequence) +
                                                          (run.epochs - position.epoch - 1) * batches_of(data->count());
  run.total_steps = run.step + left;
  const int64_t last_step = o.max_steps ? std::min(o.max_steps, run.total_steps) : run.total_steps;

  auto stepper =
      Stepper::create(std::move(job->ranks), {.threads_per_device = o.threads, .profile = !o.profile.empty()});
  if (!stepper) return stepper.takeError();
  if (from)
    if (auto e = restore(*from, held, **stepper)) return e;
  from.reset();  // its files are mapped, and may now be replaced
  auto saver = Saver::open(o, o.save.empty() ? o.resume : o.save, std::move(inputs));
  if (!saver) return saver.takeError();
  auto log = TrainingLog::open(o.log, run.step);
  if (!log) return log.takeError();
  auto save = [&]() -> llvm::Error {
    if (saver->saved_step() != run.step)
      if (auto e = saver->save(run, *job->whole, held, **stepper)) return e;
    if (o.plot.empty()) return llvm::Error::success();
    return write_file_atomically(
        o.plot, loss_plot(run.losses, std::filesystem::path(o.job.model).filename().string() + ": training loss"));
  };

  const int64_t first_step = run.step;
  int64_t tokens_seen = 0;
  const auto began = Clock::now();
  auto seconds_since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  preparing.reset();
  std::optional<Progress> progress(std::in_place, "training", last_step);
  std::vector<int64_t> order;
  Trace trace;
  DataPosition& at = run.position;
  while (run.step < last_step && !interrupting_signal()) {
    const auto step_began = Clock::now();
    if (order.empty()) order = data->order(at.epoch);
    const auto rows = llvm::ArrayRef<int64_t>(order).slice(size_t(at.sequence)).take_front(size_t(step_rows));
    const double rate = run.learning_rate * schedule_factor(*schedule, run.step, run.warmup_steps, run.total_steps);
    const int64_t epoch = at.epoch + 1;
    int64_t step_tokens = 0, counted = 0;
    auto step = [&]() -> llvm::Expected<double> {
      for (auto left = rows;;) {
        auto made = data->make(left.take_front(size_t(run.batch)));
        if (!made) return made.takeError();
        step_tokens += made->tokens, counted += made->counted;
        left = left.drop_front(std::min(left.size(), size_t(run.batch)));
        if (left.empty() && counted == 0) return no_label_counts();
        if (left.empty()) return (*stepper)->step(made->dims, std::move(made->ranks), rate);
        if (auto e = (*stepper)->accumulate(made->dims, std::move(made->ranks))) return e;
      }
    };
    auto loss = step();
    if (!loss)
      return within(words("step " + llvm::Twine(run.step + 1) + (o.inputs_dir.empty() ? "" : ", " + data->names(rows))),
                    loss.takeError());
    if (!std::isfinite(*loss))
      return error(Code::diverged)
          .what("step " + llvm::Twine(run.step + 1))
          .what(llvm::Twine("the loss is ") + (std::isnan(*loss) ? "not a number" : "infinite"))
          .hint("try a lower --lr or --max-grad-norm; " +
                (saver->saved_step() >= 0 ? saver->folder() + " holds step " + std::to_string(saver->saved_step())
                                          : std::string("nothing was saved")));
    ++run.step;
    if (!o.profile.empty()) trace.add("step " + std::to_string(run.step), *(*stepper)->last_run());
    run.losses.push_back(*loss);
    ++at.batch, at.sequence += int64_t(rows.size());
    const bool epoch_done = at.sequence == data->count();
    if (epoch_done) {
      ++at.epoch, at.batch = at.sequence = 0;
      order.clear();
    }
    tokens_seen += step_tokens;
    if (auto e = log->add({.step = run.step,
                           .epoch = epoch,
                           .loss = *loss,
                           .learning_rate = rate,
                           .tokens = step_tokens,
                           .seconds = seconds_since(step_began)}))
      return e;
    const double elapsed = seconds_since(began);
    progress->note(llvm::formatv("{0}/{1}  loss {2:f4}  {3:f0} tokens/s  {4} left", run.step, last_step, *loss,
                                 double(tokens_seen) / elapsed,
                                 time_text(elapsed / double(run.step - first_step) * double(last_step - run.step)))
                       .str());
    progress->set(run.step);
    if (epoch_done || (o.save_every && run.step % o.save_every == 0))
      if (auto e = save()) return e;
  }
  const double elapsed = seconds_since(began);
  progress.reset();
  if (auto e = data->check_unchanged()) return e;
  if (!o.profile.empty() && run.step > first_step)
    if (auto e = trace.write(o.profile, std::filesystem::path(o.job.model).filename().string())) return e;
  if (run.step > first_step || !saver->resumed())
    if (auto e = save()) return e;  // also if all that was asked for is a checkpoint for another mesh
  if (run.step < last_step) {
    if (run.step == first_step)
      return error(Code::interrupted).what("interrupted before step " + llvm::Twine(first_step + 1));
    return error(Code::interrupted)
        .what("interrupted after step " + llvm::Twine(run.step) + " of " + llvm::Twine(last_step))
        .hint(saver->folder() + " holds it, --resume goes on");
  }
  if (run.step == first_step) {
    llvm::outs() << saver->folder() << ": step " << run.step << " of " << run.total_steps
                 << ": nothing is left to do\n";
    return llvm::Error::success();
  }
  llvm::outs() << saver->folder() << ": step " << run.step << " of " << run.total_steps << ", " << at.epoch
               << (at.epoch == 1 ? " epoch" : " epochs") << " of " << run.epochs << " done\n"
               << llvm::formatv("loss {0:f4} at step {1}, {2:f4} at step {3}\n", run.losses[size_t(first_step)],
                                first_step + 1, run.losses.back(), run.step)
               << llvm::formatv("{0} tokens in {1:f1} s, {2:f0} tokens/s on {3} {4}\n", tokens_seen, elapsed,
                                double(tokens_seen) / elapsed, (*stepper)->ranks(),
                                (*stepper)->ranks() == 1 ? "device" : "devices");
  return llvm::Error::success();
}
}  // namespace

Command add_train(CLI::App& app) {
  auto o = std::make_shared<TrainOptions>();
  CLI::App* c = app.add_subcommand(
      "train", "train a model on a file of tokens or on given arrays, with checkpoints to resume from");
  add_job_options(*c, o->job);
  add_training_options(*c, o->job);
  c->add_option("--data", o->data, "token ids: raw little-endian numbers, .npy, or a file of llm.c")->type_name("FILE");
  c->add_option("--inputs-dir", o->inputs_dir,
                "instead of --data: folder with one folder per batch, holding NAME.npy or NAME.pb for every "
                "input and labels.npy")
      ->type_name("DIR");
  c->add_option("--token-type", o->token_type,
                "of raw ids: uint8 (a text file is one: each byte an id), uint16, uint32, int32 or int64; .npy files "
                "and those of llm.c say theirs")
      ->type_name("uint8|uint16|uint32|int32|int64")
      ->capture_default_str();
  c->add_option("--batch", o->batch, "sequences in a step, of --data (8)");
  c->add_option("--sequence", o->sequence, "tokens in a sequence, of --data (128)");
  c->add_option("--epochs", o->epochs, "times that all data are seen (1)");
  c->add_option("--max-steps", o->max_steps, "stop after this step; the schedule still spans all epochs");
  c->add_option("--seed", o->seed, "seed for the order of the sequences (0)");
  c->add_option("--schedule", o->schedule, "of the learning rate: constant, linear or cosine (constant)")
      ->type_name("constant|linear|cosine");
  c->add_option("--warmup", o->warmup, "steps in which the learning rate rises from 0");
  c->add_option("--save", o->save, "folder that holds the latest checkpoint")->type_name("DIR");
  c->add_option("--save-every", o->save_every, "steps between checkpoints; each epoch also ends with one");
  c->add_option("--resume", o->resume, "go on from this checkpoint; what other flags leave open is as it was")
      ->type_name("DIR");
  c->add_flag("--rewind", o->rewind, "with --resume: begin with the data's first epoch");
  c->add_flag("--overwrite", o->overwrite, "replace the folder of --save whatever it holds");
  c->add_option(
       "--profile", o->profile,
       "write the timeline of the first " + std::to_string(Trace::most_runs) + " steps to this file, for Perfetto")
      ->type_name("FILE");
  c->add_option("--log", o->log, "file of JSON lines, one per step")->type_name("FILE");
  c->add_option("--plot", o->plot, "SVG file of the loss curve")->type_name("FILE");
  c->add_option("--threads-per-device", o->threads, "OpenMP threads per device");
  o->given = [c](const char* flag) { return c->count(flag) > 0; };
  return {c, [o] { return train(*o); }};
}
}  // namespace optp
