// A training run: step by step on a file of tokens or on folders of arrays, with checkpoints that a later run goes on
// from.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "frontend/io/interrupts.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/model_file.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/make_plan.h"
#include "tools/cli/machine.h"
#include "tools/cli/progress.h"
#include "tools/run/draw_weights.h"
#include "tools/run/labels.h"
#include "tools/run/same_plan.h"
#include "tools/run/stepper.h"
#include "tools/run/trace.h"
#include "tools/train/learning_rate.h"
#include "tools/train/loss_plot.h"
#include "tools/train/saver.h"
#include "tools/train/train_options.h"
#include "tools/train/training_data.h"
#include "tools/train/training_log.h"

namespace optp {
namespace {
using Clock = std::chrono::steady_clock;

std::string frozen_blake3(const Graph& graph) {
  std::string text;
  for (const Value* v : graph.data())
    if (v->is_parameter && v->frozen) text += v->name + '\0' + blake3_of(v->data->bytes) + '\n';
  return blake3_of(llvm::ArrayRef<char>(text.data(), text.size()));
}

std::string time_text(double seconds) {
  const auto s = int64_t(seconds);
  return s < 3600 ? llvm::formatv("{0}:{1}{2}", s / 60, s % 60 < 10 ? "0" : "", s % 60).str()
                  : llvm::formatv("{0} h {1} min", s / 3600, s / 60 % 60).str();
}

// One run, from its checkpoint, if there is one, to its end. Members are filled in the order of the functions.
class Training {
 public:
  explicit Training(const TrainOptions& o) : o_(o) {}

  // What needs no other process. `held`: the ranks that run here.
  llvm::Error load(bool trains, llvm::ArrayRef<size_t> held) {
    if (trains)
      if (auto e = check(o_)) return e;
    JobOptions job_options = o_.job;
    job_options.train = true;
    job_options.ranks.emplace(held.begin(), held.end());
    if (!o_.resume.empty()) {
      auto opened = Checkpoint::open(o_.resume);
      if (!opened) return opened.takeError();
      from_.emplace(std::move(*opened));
      if (auto e = take_from(*from_, o_, job_options)) return e;
      run_ = from_->run();
      if (job_options.model.empty()) job_options.model = run_.model_path;
      if (!trains && !o_.given("--strategy")) job_options.strategy = run_.strategy;
    }
    if (auto e = identify_model(job_options.model)) return e;
    remark_on_compute(job_options.compute);
    auto job = make_job(job_options);
    if (!job) return job.takeError();
    job_ = std::move(*job);
    if (auto e = need_weights(*job_.whole)) return e;
    return record_job();
  }

  llvm::Error run(World& world) {
    world_ = &world;
    if (auto e = world.at_root([&] { return check_places_for_files({o_.log, o_.plot, o_.profile}); })) return e;
    if (auto e = same_plan(world, *job_.spmd)) return e;
    find_ports();
    if (auto e = open_data()) return e;
    if (auto e = find_position()) return e;
    if (auto e = plan_steps()) return e;
    if (auto e = data_->check_length(*job_.inference)) return e;
    if (auto e = open_outputs()) return e;
    let_go_of_compilation(job_);
    preparing_.reset();
    if (auto e = make_steps()) return e;
    if (auto e = finish()) return e;
    return world_->is_root() ? report() : llvm::Error::success();
  }

  // Saves what it begins with.
  llvm::Error reshard(World& world) {
    world_ = &world;
    const std::string before = to_string(from_->run().mesh);
    if (auto e = same_plan(world, *job_.spmd)) return e;
    find_ports();
    if (auto e = open_outputs()) return e;
    preparing_.reset();
    if (auto e = saver_->save(run_, *job_.whole, held_, *stepper_)) return e;
    if (world_->is_root())
      llvm::outs() << saver_->folder() << ": step " << run_.step << ", on " << to_string(run_.mesh) << " instead of "
                   << before << "\n";
    return llvm::Error::success();
  }

 private:
  llvm::Error identify_model(const std::string& model) {
    auto path = model_file(model);
    auto file = path ? open_input_file(*path) : path.takeError();
    if (!file && o_.job.model.empty())
      return within(
          {file_place(from_->folder()), words("the model it was trained from; --model FILE says where it is now")},
          file.takeError());
    if (!file) return file.takeError();
    run_.model_path = std::filesystem::absolute(*path).string();
    run_.model_blake3 = blake3_of((*file)->bytes());
    if (from_ && run_.model_blake3 != from_->run().model_blake3)
      return error(Code::hash_mismatch)
          .in_file(from_->folder())
          .what("a checkpoint of another model, " + quoted(from_->run().model_path))
          .what("BLAKE3")
          .expected(run_.model_blake3 + " of " + quoted(model))
          .found(from_->run().model_blake3);
    inputs_ = {(*file)->id()};
    return llvm::Error::success();
  }
  llvm::Error record_job() {
    const TrainingOptions& training = job_.training;
    run_.frozen_blake3 = frozen_blake3(*job_.whole);
    if (from_ && run_.frozen_blake3 != from_->run().frozen_blake3)
      return error(Code::bad_checkpoint)
          .in_file(from_->folder())
          .what("the parameters that are not trained are others than the checkpoint's");
    run_.mesh = job_.whole->mesh, run_.strategy = job_.passes.strategy;
    run_.optimizer = training.optimizer, run_.learning_rate = *training.learning_rate,
    run_.max_gradient_norm = training.max_gradient_norm, run_.accumulate = training.accumulate;
    run_.trainable = training.trainable, run_.freeze = training.freeze, run_.no_decay = training.no_decay;
    return llvm::Error::success();
  }

  void find_ports() {
    const Plan plan = make_plan(job_, example_dims(*job_.whole, job_.asked), OPTP_VERSION, /*weights=*/false);
    for (const Port& p : plan.inputs)
      if (p.role == Plan::Role::data || p.role == Plan::Role::labels)
        fed_.push_back(p);
      else if (p.role != Plan::Role::learning_rate && p.role != Plan::Role::accumulated)
        held_.push_back(p);  // sums over micro-batches are zero between steps
  }
  llvm::Error open_data() {
    source_ = source_of(o_, from_ ? &*from_ : nullptr);
    DataOptions options{.model = o_.job.model,
                        .graph = job_.inference.get(),
                        .tokens = source_.tokens,
                        .token_type = source_.token_type,
                        .folders = source_.folders,
                        .dims = job_.asked,
                        .batch = {o_.batch, std::nullopt},
                        .length = {o_.sequence, std::nullopt},
                        .seed = o_.seed.value_or(from_ ? run_.position.seed : 0)};
    if (from_ && run_.position.length > 0)
      options.batch.before = run_.batch, options.length.before = run_.position.length;
    auto data = TrainingData::open(options, fed_, world_->held());
    if (!data && source_.is_remembered)
      return within({file_place(from_->folder()), words("the data of this run; --data FILE says where it is now")},
                    data.takeError());
    if (!data) return data.takeError();
    data_.emplace(std::move(*data));
    inputs_.insert(inputs_.end(), data_->files().begin(), data_->files().end());
    for (auto [flag, path] : {std::pair{"--log", &o_.log}, {"--plot", &o_.plot}, {"--profile", &o_.profile}})
      for (const FileId& id : inputs_)
        if (!path->empty() && same_file(*path, id.device, id.inode))
          return error(Code::is_an_input).flag(flag, *path).what("it is an input of this run").about({.file = *path});
    return llvm::Error::success();
  }
  // Where in the data the run begins.
  llvm::Error find_position() {
    DataPosition position{.seed = o_.seed.value_or(from_ ? run_.position.seed : 0),
                          .length = data_->length(),
                          .path = data_->path(),
                          .blake3 = data_->blake3(),
                          .token_type = source_.folders.empty() ? source_.token_type : ""};
    if (from_ && !o_.rewind) {
      const DataPosition& before = from_->run().position;
      const auto differs = [&](const llvm::Twine& what) {
        return error(Code::bad_checkpoint)
            .in_file(from_->folder())
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
    run_.position = position;
    run_.batch = data_->batch(), run_.epochs = o_.epochs.value_or(from_ ? run_.epochs : 1);
    if (position.sequence < data_->count()) return llvm::Error::success();
    return error(Code::bad_checkpoint)
        .in_file(from_->folder() + "/checkpoint.json")
        .what("position")
        .expected("a sequence below " + llvm::Twine(data_->count()))
        .found(position.sequence);
  }
  llvm::Error plan_steps() {
    run_.schedule = o_.schedule.value_or(run_.schedule);
    run_.warmup_steps = o_.warmup.value_or(run_.warmup_steps);
    auto batches_of = [&](int64_t n) { return (n + step_rows() - 1) / step_rows(); };
    const DataPosition& at = run_.position;
    const int64_t left = at.epoch >= run_.epochs ? 0
                                                 : batches_of(data_->count() - at.sequence) +
                                                       (run_.epochs - at.epoch - 1) * batches_of(data_->count());
    run_.total_steps = run_.step + left;
    last_step_ = o_.max_steps ? std::min(o_.max_steps, run_.total_steps) : run_.total_steps;
    first_step_ = run_.step;
    return llvm::Error::success();
  }
  int64_t step_rows() const { return run_.batch * job_.training.accumulate; }

  // What the ranks hold, and what is written of it.
  llvm::Error open_outputs() {
    PerRank<std::unique_ptr<Graph>> graphs(world_->held());
    for (const size_t r : world_->held()) graphs[r] = std::move(job_.ranks[r]);
    job_.ranks.clear();
    auto stepper =
        Stepper::create(*world_, std::move(graphs), {.threads_per_device = o_.threads, .profile = !o_.profile.empty()});
    if (!stepper) return stepper.takeError();
    stepper_ = std::move(*stepper);
    if (from_)
      if (auto e = restore(*from_, held_, *stepper_)) return e;
    from_.reset();  // its files are mapped, and may now be replaced
    auto saver = Saver::open(*world_, o_.save.empty() ? o_.resume : o_.save, o_.resume,
                             {.overwrite = o_.overwrite, .inputs = inputs_, .despite_signals = true});
    if (!saver) return saver.takeError();
    saver_.emplace(std::move(*saver));
    return world_->at_root([&]() -> llvm::Error {
      auto log = TrainingLog::open(o_.log, run_.step);
      if (!log) return log.takeError();
      log_ = std::move(*log);
      return llvm::Error::success();
    });
  }
  llvm::Error save() {
    if (saver_->saved_step() != run_.step)
      if (auto e = saver_->save(run_, *job_.whole, held_, *stepper_)) return e;
    if (o_.plot.empty()) return llvm::Error::success();
    return world_->at_root([&] {
      return write_file_atomically(
          o_.plot, loss_plot(run_.losses, std::filesystem::path(o_.job.model).filename().string() + ": training loss"));
    });
  }

  llvm::Error make_steps() {
    began_ = Clock::now();
    Progress progress("training", last_step_);
    while (run_.step < last_step_) {
      auto stopped = world_->any(interrupting_signal() != 0);
      if (!stopped) return stopped.takeError();
      if (*stopped) break;
      if (auto e = make_step(progress)) return e;
      const bool epoch_done = run_.position.sequence == 0;
      if (epoch_done || (o_.save_every && run_.step % o_.save_every == 0))
        if (auto e = save()) return e;
    }
    seconds_ = seconds_since(began_);
    return llvm::Error::success();
  }
  // One step of the rows that are next, and what is told of it.
  llvm::Error make_step(Progress& progress) {
    const auto step_began = Clock::now();
    DataPosition& at = run_.position;
    if (order_.empty()) order_ = data_->order(at.epoch);
    const auto rows = llvm::ArrayRef<int64_t>(order_).slice(size_t(at.sequence)).take_front(size_t(step_rows()));
    const double rate =
        run_.learning_rate * schedule_factor(run_.schedule, run_.step, run_.warmup_steps, run_.total_steps);
    int64_t step_tokens = 0;
    auto loss = step_on(rows, rate, step_tokens);
    if (!loss)
      return within(
          words("step " + llvm::Twine(run_.step + 1) + (source_.folders.empty() ? "" : ", " + data_->names(rows))),
          loss.takeError());
    if (!std::isfinite(*loss)) return diverged(*loss);
    ++run_.step;
    if (!o_.profile.empty()) trace_.add("step " + std::to_string(run_.step), *stepper_->last_run());
    run_.losses.push_back(*loss);
    const int64_t epoch = at.epoch + 1;
    ++at.batch, at.sequence += int64_t(rows.size());
    if (at.sequence == data_->count()) {
      ++at.epoch, at.batch = at.sequence = 0;
      order_.clear();
    }
    tokens_seen_ += step_tokens;
    if (auto e = log_.add({.step = run_.step,
                           .epoch = epoch,
                           .loss = *loss,
                           .learning_rate = rate,
                           .tokens = step_tokens,
                           .seconds = seconds_since(step_began)}))
      return e;
    const double elapsed = seconds_since(began_);
    progress.note(llvm::formatv("{0}/{1}  loss {2:f4}  {3:f0} tokens/s  {4} left", run_.step, last_step_, *loss,
                                double(tokens_seen_) / elapsed,
                                time_text(elapsed / double(run_.step - first_step_) * double(last_step_ - run_.step)))
                      .str());
    progress.set(run_.step);
    return llvm::Error::success();
  }
  llvm::Expected<double> step_on(llvm::ArrayRef<int64_t> left, double rate, int64_t& tokens) {
    int64_t counted = 0;
    while (true) {
      auto made = data_->make(left.take_front(size_t(run_.batch)));
      if (!made) return made.takeError();
      tokens += made->tokens, counted += made->counted;
      left = left.drop_front(std::min(left.size(), size_t(run_.batch)));
      if (left.empty() && counted == 0) return no_label_counts();
      if (left.empty()) return stepper_->step(made->dims, made->ranks, rate);
      if (auto e = stepper_->accumulate(made->dims, made->ranks)) return e;
    }
  }
  llvm::Error diverged(double loss) const {
    return error(Code::diverged)
        .what("step " + llvm::Twine(run_.step + 1))
        .what(llvm::Twine("the loss is ") + (std::isnan(loss) ? "not a number" : "infinite"))
        .hint("try a lower --lr or --max-grad-norm; " +
              (saver_->saved_step() >= 0 ? saver_->folder() + " holds step " + std::to_string(saver_->saved_step())
                                         : std::string("nothing was saved")));
  }
  static double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

  llvm::Error finish() {
    if (auto e = data_->check_unchanged()) return e;
    if (!o_.profile.empty() && run_.step > first_step_) {
      if (auto e = trace_.gather(*world_)) return e;
      if (auto e = world_->at_root(
              [&] { return trace_.write(o_.profile, std::filesystem::path(o_.job.model).filename().string()); }))
        return e;
    }
    if (run_.step > first_step_ || !saver_->resumed())
      if (auto e = save()) return e;  // also if all that was asked for is a checkpoint for another mesh
    if (run_.step >= last_step_) return llvm::Error::success();
    if (run_.step == first_step_)
      return error(Code::interrupted).what("interrupted before step " + llvm::Twine(first_step_ + 1));
    return error(Code::interrupted)
        .what("interrupted after step " + llvm::Twine(run_.step) + " of " + llvm::Twine(last_step_))
        .hint(saver_->folder() + " holds it, --resume goes on");
  }
  llvm::Error report() const {
    const DataPosition& at = run_.position;
    llvm::outs() << saver_->folder() << ": step " << run_.step << " of " << run_.total_steps;
    if (run_.step == first_step_) {
      llvm::outs() << ": nothing is left to do\n";
      return llvm::Error::success();
    }
    llvm::outs() << ", " << at.epoch << (at.epoch == 1 ? " epoch" : " epochs") << " of " << run_.epochs << " done\n"
                 << llvm::formatv("loss {0:f4} at step {1}, {2:f4} at step {3}\n", run_.losses[size_t(first_step_)],
                                  first_step_ + 1, run_.losses.back(), run_.step)
                 << llvm::formatv("{0} tokens in {1:f1} s, {2:f0} tokens/s on {3} {4}\n", tokens_seen_, seconds_,
                                  double(tokens_seen_) / seconds_, world_->size(),
                                  world_->size() == 1       ? "device"
                                  : is_default_mesh(o_.job) ? "devices (the default)"
                                                            : "devices");
    return llvm::Error::success();
  }

  const TrainOptions& o_;
  const DeferInterrupts defer_;  // a signal ends the step that runs, and saves
  std::optional<Progress> preparing_{std::in_place, "preparing"};
  World* world_ = nullptr;
  std::optional<Checkpoint> from_;
  RunRecord run_;
  std::vector<FileId> inputs_;
  Job job_;
  std::vector<Port> fed_, held_;  // what a step is given, and what it updates
  DataSource source_;
  std::optional<TrainingData> data_;
  int64_t first_step_ = 0, last_step_ = 0;
  std::unique_ptr<Stepper> stepper_;
  std::optional<Saver> saver_;
  TrainingLog log_;  // the root's
  Trace trace_;
  std::vector<int64_t> order_;
  Clock::time_point began_;
  double seconds_ = 0;
  int64_t tokens_seen_ = 0;
};

}  // namespace

static llvm::Error run_training(const TrainOptions& o, const WorldMaker& make_world, bool trains) {
  auto world = make_world(devices_of(o.job));  // outlives what the run holds
  if (!world) return world.takeError();
  Training training(o);
  if (auto e = (*world)->agree(training.load(trains, (*world)->held()))) return e;
  return (*world)->run([&] { return trains ? training.run(**world) : training.reshard(**world); });
}
llvm::Error train(const TrainOptions& o, const WorldMaker& make_world) {
  return run_training(o, make_world, /*trains=*/true);
}
llvm::Error reshard(const TrainOptions& o, const WorldMaker& make_world) {
  return run_training(o, make_world, /*trains=*/false);
}
}  // namespace optp
