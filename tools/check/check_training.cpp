// The groups after the forward pass, which the check of the inference job covers:
//   backward    every value of loss, backward and optimizer on every rank against its shard of the whole run's, in
//   float64 gradients   the loss and each parameter's gradient, ranks in the runtime, against float64; the yardstick is
//   what float32
//               costs the unpartitioned run of the same runtime
//   optimizers  each optimizer for three steps: new parameters and state against float64 arithmetic on what the step
//   started from memory      elements held, and predicted bytes against those that are there stability   three epochs
//   of two batches: the loss curve against the unpartitioned run's; the yardstick is how far that
//               one moves when every weight is changed in its last bit
#include "tools/check/check_training.h"

#include <cmath>
#include <random>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Parallel.h"
#include "passes/plan/make_plan.h"
#include "tools/check/mutants.h"
#include "tools/check/update_comparison.h"
#include "tools/cli/progress.h"
#include "tools/run/activation_peak.h"
#include "tools/run/execution.h"
#include "tools/run/inputs.h"
#include "tools/run/labels.h"
#include "tools/run/prepare.h"
#include "tools/run/stepper.h"
#include "tools/run/tensor_folder.h"
#include "tools/train/checkpoint.h"

namespace optp {
namespace {
Diagnostic differs(const llvm::Twine& what, const std::string& expected, const std::string& found) {
  return error(Code::difference).what(what).expected(expected).found(found);
}

double largest(const Array& a) {
  double top = 0;
  for (int64_t k = 0; k < a.elements(); ++k)
    if (const double x = std::fabs(a.number(k)); std::isfinite(x)) top = std::max(top, x);
  return top;
}
double error_of(const Array& a, const Array& b, int64_t* worst = nullptr) {
  double most = 0;
  for (int64_t k = 0; k < b.elements(); ++k) {
    const double d = std::isfinite(a.number(k)) ? std::fabs(a.number(k) - b.number(k)) : INFINITY;
    if (d > most) {
      most = d;
      if (worst) *worst = k;
    }
  }
  return most;
}

// A batch: whole inputs with labels, and each rank's part.
struct Batch {
  HostArrays whole;
  std::vector<HostArrays> ranks;
};

class TrainingChecker {
 public:
  TrainingChecker(const TrainingCheckOptions& o, const Job& forward) : o_(o), job_options_(o.job), forward_(forward) {}

  llvm::Expected<TrainingCheck> run() {
    auto job = load(job_options_.training.optimizer);
    if (!job) return job.takeError();
    job_ = std::move(*job);
    if (auto e = make_batches()) return e;
    if (auto e = backward()) return e;
    if (auto e = gradients()) return e;
    if (auto e = optimizers()) return e;
    if (auto e = memory()) return e;
    if (auto e = stability()) return e;
    return TrainingCheck{std::move(rows_), std::move(fault_)};
  }

 private:
  // `broken`: with what a mutant of the options does to the ranks.
  llvm::Expected<Job> load(const OptimizerOptions& optimizer, bool broken = false) {
    JobOptions options = job_options_;
    options.training.optimizer = optimizer;
    if (broken && o_.mutant == "swapped-betas")
      options.training.optimizer.beta1 = optimizer.beta2.value_or(0.999),
      options.training.optimizer.beta2 = optimizer.beta1.value_or(0.9), options.betas.clear();
    if (broken && o_.mutant == "clip-not-applied") options.training.max_gradient_norm = 0;
    if (optimizer.name != job_options_.training.optimizer.name) options.training.learning_rate.reset();
    auto job = retrain(forward_, training_of(options));
    if (!job) return job.takeError();
    if (auto e = prepare_weights(*job, o_.random_weights)) return e;
    return job;
  }
  const Mesh& mesh() const { return job_.whole->mesh; }
  int64_t devices() const { return mesh().devices(); }
  double rate() const { return *job_.training.learning_rate; }

  llvm::Error make_batches() {
    auto dims = parse_dims(o_.job.dims);
    if (!dims) return dims.takeError();
    dims_ = *dims;
    const std::vector<InputSpec> specs = input_specs(*job_.imported);
    const Value* labels = job_.whole->find("labels");
    auto given = prepare_inputs(*job_.imported, o_.inputs, o_.inputs_dir, dims_);
    if (!given) return given.takeError();
    // A second batch of the same extents, drawn.
    std::vector<std::string> drawn;
    for (const InputSpec& s : specs)
      if (s.rows > 0) drawn.push_back(s.name + "=rand(2)");
    DimValues same = dims_;
    auto second = prepare_inputs(*job_.imported, drawn, "", same);
    if (!second) return second.takeError();
    auto classes = evaluate(find_logits(*job_.inference)->type.dims[2], dims_);
    if (!classes) return classes.takeError();
    for (HostArrays* whole : {&*given, &*second}) {
      std::optional<TensorFolder::Found> stored;
      if (whole == &*given && !o_.inputs_dir.empty()) {
        auto files = TensorFolder::open(o_.inputs_dir, TensorFolder::Kind::inputs);
        if (!files) return files.takeError();
        auto found = files->find("labels", specs.size());
        if (!found) return found.takeError();
        stored = std::move(*found);
      }
      if (stored) {
        const std::string& file = stored->file;
        HostArray& array = stored->array;
        if (is_float(array.dtype))
          return error(Code::dtype_mismatch)
              .in_file(file)
              .what("dtype")
              .expected("integers")
              .found(long_name(array.dtype));
        if (array.dtype != DType::i64) array = host_array(to_array(array), DType::i64);
        llvm::SmallVector<int64_t, 4> shape;
        for (Dim d : labels->type.dims) {
          auto n = evaluate(d, dims_);
          if (!n) return n.takeError();
          shape.push_back(*n);
        }
        if (array.dims != shape)
          return error(Code::shape_mismatch)
              .in_file(file)
              .what("shape")
              .expected(to_string(Dims(shape.begin(), shape.end())))
              .found(to_string(Dims(array.dims.begin(), array.dims.end())));
        (*whole)["labels"] = std::move(array);
      } else {
        // Next-token prediction: the labels are the ids, counted from the front and within the classes.
        const Value* ids = find_ids(*job_.imported);
        for (const InputSpec& s : specs) {
          if (s.rows == 0 || llvm::ArrayRef<Dim>(s.dims) != llvm::ArrayRef<Dim>(labels->type.dims) ||
              (whole->contains("labels") && (!ids || s.name != ids->name)))
            continue;
          Array own = to_array((*whole)[s.name]);
          for (int64_t& x : own.i) x = (x < 0 ? x + s.rows : x) % *classes;
          (*whole)["labels"] = host_array(own, DType::i64);
        }
        if (!whole->contains("labels"))
          return error(Code::input_not_given)
              .what("no input has the labels' shape " + to_string(labels->type.dims))
              .what("give labels.npy in --inputs-dir")
              .about({.hint = "give labels.npy in --inputs-dir"});
      }
      const Place place = whole == &*given && !o_.inputs_dir.empty() ? file_place(o_.inputs_dir) : words("the batch");
      if (auto e = check_labels({place, tensor_place("input", "labels")}, (*whole)["labels"], *classes)) return e;
      if (counted_labels((*whole)["labels"]) == 0) return within(place, no_label_counts());
      Batch batch;
      for (int64_t r = 0; r < devices(); ++r) {
        // A batch that is split has its part of numbers only.
        auto bound = bind_dims(*job_.ranks[size_t(r)], dims_);
        if (!bound) return bound.takeError();
        batch.ranks.push_back(take_shards(*whole, **bound, mesh(), r));
      }
      batch.whole = std::move(*whole);
      batches_.push_back(std::move(batch));
    }
    return llvm::Error::success();
  }

  void fail(Row& row, Diagnostic fault) {
    row.holds = false;
    if (!fault_) fault_ = std::move(fault.within(words(row.name)));
  }
  llvm::Expected<std::vector<std::unique_ptr<Graph>>> rank_graphs(const Job& job) const {
    std::vector<std::unique_ptr<Graph>> out;
    for (size_t r = 0; r < job.ranks.size(); ++r) {
      out.push_back(job.ranks[r]->clone());
      if (!o_.mutant.empty())
        if (auto e = apply_mutant(*out.back(), int64_t(r), o_.mutant)) {
          if (&job == &job_) return e;
          llvm::consumeError(std::move(e));  // another optimizer has nothing to break that way
        }
    }
    return out;
  }
  llvm::Expected<std::unique_ptr<Stepper>> ranks_stepper(const Job& job) const {
    auto graphs = rank_graphs(job);
    if (!graphs) return graphs.takeError();
    return Stepper::create(std::move(*graphs), {.threads_per_device = o_.threads, .gradients = true, .slow = o_.slow});
  }
  llvm::Expected<std::unique_ptr<Stepper>> whole_stepper(const Job& job) const {
    std::vector<std::unique_ptr<Graph>> graphs;
    graphs.push_back(job.whole->clone());
    return Stepper::create(std::move(graphs), {.threads_per_device = o_.threads, .gradients = true, .slow = o_.slow});
  }
  // The ranks' shards of an array put together.
  llvm::Expected<Array> joined(const Value& like, llvm::function_ref<const HostArray*(size_t)> part) const {
    const Extents& dims = like.data->dims;
    auto whole = join(part(0)->dtype, dims, Shard::of_all(dims, *like.sharding, mesh()),
                      [&](size_t r) -> llvm::Expected<llvm::ArrayRef<char>> { return part(r)->bytes; });
    if (!whole) return within(words(quoted(like.name)), whole.takeError());
    return to_array(*whole);
  }

  // What an optimizer does to each element has a comparison of its own, and takes most of the memory: of its values
  // only the scalars stay.
  static void drop_updates(llvm::ArrayRef<Graph*> graphs) {
    for (Graph* graph : graphs) drop_update_outputs(*graph);
    erase_dead(graphs);
    for (Graph* graph : graphs) std::erase_if(graph->inputs, [](const Value* v) { return v->uses.empty(); });
  }
  static void drop_update_outputs(Graph& graph) {
    std::erase_if(graph.outputs, [&](const GraphOutput& o) {
      return llvm::any_of(graph.updates, [&](const Update& u) { return u.output == o.name; });
    });
    for (const auto& node : graph.nodes)
      if (node->phase == Phase::optimizer && node->out().ndim() == 0 && !graph.is_output(node->out()))
        graph.outputs.push_back({node->out().name, &node->out()});
  }
  llvm::Error backward() {
    auto whole = bind_dims(*job_.whole, dims_);
    if (!whole) return whole.takeError();
    drop_updates(whole->get());
    auto graphs = rank_graphs(job_);
    if (!graphs) return graphs.takeError();
    std::vector<std::unique_ptr<Graph>> bound;
    std::vector<Graph*> mutable_ranks;
    for (auto& g : *graphs) {
      auto b = bind_dims(*g, dims_);
      if (!b) return b.takeError();
      bound.push_back(std::move(*b));
      mutable_ranks.push_back(bound.back().get());
    }
    drop_updates(mutable_ranks);
    const std::vector<const Graph*> ranks(mutable_ranks.begin(), mutable_ranks.end());
    NamedArrays inputs;
    for (const auto& [name, a] : batches_[0].whole) inputs[name] = to_array(a);
    for (const Value* v : (*whole)->inputs) {
      if (inputs.contains(v->name)) continue;
      if (v->name == "learning_rate")
        inputs[v->name] = scalar(rate(), true);
      else if (v->name == "step")
        inputs[v->name] = scalar(0, false);
      else {
        Array zeros;
        llvm::SmallVector<int64_t, 4> dims;
        for (Dim d : v->type.dims) dims.push_back(*d.constant());
        zeros.resize(true, dims);
        inputs[v->name] = std::move(zeros);
      }
    }
    std::vector<NamedArrays> rank_inputs;
    for (int64_t r = 0; r < devices(); ++r) {
      NamedArrays mine;
      for (const Value* v : ranks[size_t(r)]->inputs)
        mine[v->name] = take(Shard::of(inputs[v->name].dims, *v->sharding, mesh(), r), inputs[v->name]);
      rank_inputs.push_back(std::move(mine));
    }
    std::optional<Progress> progress;
    progress.emplace("checking the training step in float64",
                     int64_t((*whole)->size() + ranks[0]->size() * ranks.size()));
    LocalComparison comparison(mesh(), ranks);
    if (auto e = comparison.run(**whole, inputs, rank_inputs, progress)) return e;
    for (auto [name, phases] : {std::pair{"forward", std::vector{Phase::forward}},
                                {"loss", std::vector{Phase::loss}},
                                {"backward", std::vector{Phase::backward, Phase::optimizer}}}) {
      Row row{name, "shards of the whole run's values, float64", "", 0, 0, 0, LocalComparison::tolerance, true};
      for (Phase phase : phases) {
        const auto& found = comparison.found(phase);
        row.values += found.values, row.elements += found.elements, row.error = std::max(row.error, found.error);
      }
      if (comparison.fault()) {
        // What comes after a fault was not compared.
        if (llvm::is_contained(phases, comparison.fault_phase()))
          fail(row, *comparison.fault());
        else if (row.values == 0)
          row.holds = false;
      }
      rows_.push_back(std::move(row));
    }
    truth_ = comparison.outputs();
    for (const GradientOutput& g : job_.whole->gradients) addends_[g.output] = comparison.addend_of(g.output);
    return llvm::Error::success();
  }

  llvm::Error gradients() {
    // One after the other: each holds parameters, state and gradients of the whole model.
    double whole_loss = 0;
    std::vector<double> whole_errors;
    {
      auto whole = whole_stepper(job_);
      if (!whole) return whole.takeError();
      auto loss = (*whole)->step(dims_, {batches_[0].whole}, rate());
      if (!loss) return loss.takeError();
      whole_loss = *loss;
      for (const GradientOutput& g : job_.whole->gradients)
        whole_errors.push_back(error_of(to_array(*(*whole)->gradient(0, g.output)), truth_[g.output]));
    }
    auto ranks = ranks_stepper(job_);
    if (!ranks) return ranks.takeError();
    auto loss = (*ranks)->step(dims_, batches_[0].ranks, rate());
    if (!loss) return loss.takeError();
    // Where a gradient cancels, float32 has rounded each addend: one run's luck is no measure of another's.
    Row row{"gradients",
            "float64; allowed: 8 x the unpartitioned run's error, at least 2e-6 of the largest and 8 roundings of the "
            "largest addend",
            "",
            1,
            1,
            0,
            1,
            true};
    const double exact = truth_["loss"].number(0);
    const double loss_ratio =
        std::fabs(*loss - exact) / std::max(8 * std::fabs(whole_loss - exact), 2e-6 * std::fabs(exact));
    row.error = loss_ratio;
    if (!(loss_ratio <= 1))
      fail(row, differs("loss", llvm::formatv("{0}", exact).str(), llvm::formatv("{0}", *loss).str()));
    for (size_t k = 0; k < job_.whole->gradients.size(); ++k) {
      const GradientOutput& g = job_.whole->gradients[k];
      const Array& expected = truth_[g.output];
      auto found = gradient_of(job_, **ranks, g);
      if (!found) return found.takeError();
      int64_t at = 0;
      const double error = error_of(*found, expected, &at), yardstick = whole_errors[k];
      const double ratio =
          error / std::max({8 * yardstick, 2e-6 * largest(expected), 8 * float32_rounding * addends_[g.output], 1e-30});
      ++row.values;
      row.elements += expected.elements();
      row.error = std::max(row.error, ratio);
      if (!(ratio <= 1)) fail(row, difference_at({tensor_place("gradient of", g.parameter)}, expected, *found, at));
    }
    rows_.push_back(std::move(row));
    memory_ = measured(**ranks);
    truth_.clear();
    return llvm::Error::success();
  }

  llvm::Expected<Array> gradient_of(const Job& job, const Stepper& ranks, const GradientOutput& g) const {
    return joined(*job.whole->find(g.parameter), [&](size_t r) { return ranks.gradient(r, g.output); });
  }
  // Of torch.nn.utils.clip_grad_norm_, from the whole gradients.
  llvm::Expected<double> clip_factor(const Job& job, const Stepper& ranks) const {
    const double most = job.training.max_gradient_norm;
    if (most <= 0) return 1;
    double squares = 0;
    for (const GradientOutput& g : job.whole->gradients) {
      auto gradient = gradient_of(job, ranks, g);
      if (!gradient) return gradient.takeError();
      for (double x : gradient->f) squares += x * x;
    }
    return std::min(1.0, most / (std::sqrt(squares) + 1e-6));
  }
  // What a step did to a parameter and its state, put together from the ranks. `before`: what these had held.
  llvm::Expected<StepOfParameter> step_of(const Job& job, Stepper& ranks, std::vector<HostArrays>& before,
                                          const GradientOutput& g, double clip) const {
    const Value& parameter = *job.whole->find(g.parameter);
    auto gradient = gradient_of(job, ranks, g);
    if (!gradient) return gradient.takeError();
    StepOfParameter out{.parameter = &parameter, .gradient = std::move(*gradient)};
    for (double& x : out.gradient.f) x *= clip;
    for (const Update& u : job.whole->updates) {
      if (u.parameter != g.parameter) continue;
      auto old = joined(parameter, [&](size_t r) { return &before[r].find(u.input)->second; });
      auto now = joined(parameter, [&](size_t r) { return &ranks.values(r).find(u.input)->second; });
      if (!old || !now) return llvm::joinErrors(old.takeError(), now.takeError());
      out.before[u.input] = std::move(*old), out.after[u.input] = std::move(*now);
    }
    return out;
  }
  static std::vector<std::pair<std::string, OptimizerOptions>> all_optimizers() {
    std::vector<std::pair<std::string, OptimizerOptions>> out;
    auto add = [&](const char* name, const char* kind, auto set) {
      OptimizerOptions o;
      o.name = kind;
      set(o);
      out.emplace_back(name, o);
    };
    add("sgd", "sgd", [](auto&) {});
    add("sgd momentum", "sgd", [](auto& o) { o.momentum = 0.9; });
    add("sgd nesterov decay", "sgd", [](auto& o) { o.momentum = 0.9, o.nesterov = true, o.weight_decay = 0.01; });
    add("adam", "adam", [](auto&) {});
    add("adamw", "adamw", [](auto&) {});
    add("rmsprop", "rmsprop", [](auto&) {});
    add("rmsprop centered", "rmsprop", [](auto& o) { o.momentum = 0.9, o.centered = true; });
    return out;
  }

  llvm::Error optimizers() {
    constexpr int steps = 3;
    auto list = all_optimizers();
    if (llvm::none_of(list, [&](const auto& o) { return same_optimizer(o.second, job_.training.optimizer); }))
      list.emplace_back(job_options_.training.optimizer.name + " as asked", job_.training.optimizer);
    std::optional<Progress> progress;
    progress.emplace("checking optimizers", int64_t(list.size()) * steps);
    for (const auto& [name, optimizer] : list) {
      auto job = load(optimizer);
      if (!job) return job.takeError();
      auto executed = load(optimizer, true);
      if (!executed) return executed.takeError();
      auto ranks = ranks_stepper(*executed);
      if (!ranks) return ranks.takeError();
      const double rate = float(*job->training.learning_rate);
      Row row{name, "float64 arithmetic on each step's own gradients, 3 steps; allowed: 16 roundings", "", 0, 0, 0, 1,
              true};
      for (int s = 0; s < steps; ++s) {
        std::vector<HostArrays> before;
        for (int64_t r = 0; r < devices(); ++r) before.push_back((*ranks)->values(size_t(r)));
        auto loss = (*ranks)->step(dims_, batches_[size_t(s) % 2].ranks, *job->training.learning_rate);
        if (!loss) return loss.takeError();
        auto clip = clip_factor(*job, **ranks);
        if (!clip) return clip.takeError();
        const auto& list = job->whole->gradients;
        std::vector<Row> parts(list.size(), Row{});
        std::vector<std::optional<Diagnostic>> faults(list.size());
        llvm::parallelFor(0, list.size(), [&](size_t k) {
          auto step = step_of(*job, **ranks, before, list[k], *clip);
          if (!step) return void(faults[k] = take_diagnostic(step.takeError()));
          step->step = s, step->learning_rate = rate;
          auto found = compare_update(*step, job->training, parts[k]);
          faults[k] = found ? *found : take_diagnostic(found.takeError());
        });
        for (size_t k = 0; k < list.size(); ++k) {
          row.values += parts[k].values, row.elements += parts[k].elements,
              row.error = std::max(row.error, parts[k].error);
          if (faults[k]) fail(row, *faults[k]);
        }
        progress->add(1);
      }
      rows_.push_back(std::move(row));
    }
    return llvm::Error::success();
  }

  // Bytes that a device has, by what they are for.
  struct Memory {
    int64_t parameters = 0, state = 0, gradients = 0, values = 0, arena = 0;
  };
  static std::vector<Memory> measured(Stepper& stepper) {
    std::vector<Memory> out;
    for (size_t r = 0; r < stepper.ranks(); ++r) {
      Memory& m = out.emplace_back();
      for (const Update& u : stepper.graph(r).updates)
        if (u.kind != "step")
          (u.kind == "parameter" ? m.parameters : m.state) += int64_t(stepper.values(r)[u.input].bytes.size());
      for (const GradientOutput& g : stepper.graph(r).gradients)
        m.gradients += int64_t(stepper.gradient(r, g.output)->bytes.size());
      m.values = stepper.last_run()->executable(r).memory().value_bytes;
      m.arena = stepper.last_run()->executable(r).memory().arena_actual_bytes;
    }
    return out;
  }
  llvm::Error memory() {
    Row row{"memory", "elements of the whole model; predicted bytes of each device", "", 0, 0, 0, 0.02, true};
    // Each element of a parameter on at least one device, and none beyond the model's.
    for (const Value* v : job_.whole->data()) {
      if (!v->is_parameter) continue;
      ++row.values;
      row.elements += v->data->elements();
      if (auto at = held_by_none(v->data->dims, Shard::of_all(v->data->dims, *v->sharding, mesh())))
        fail(row, error(Code::difference, quoted(v->name))
                      .what("element " + to_string(Dims(at->begin(), at->end())) + " is on no device")
                      .about({.tensor = v->name}));
    }
    Plan plan = make_plan(job_, dims_, "", true);
    if (auto e = add_activation_peaks(plan, job_, dims_)) return e;
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

  // Every weight in its last bit.
  static void move_weights(Stepper& whole) {
    std::mt19937_64 random(1);
    for (auto& [name, array] : whole.values(0)) {
      if (array.dtype != DType::f32) continue;
      auto* x = reinterpret_cast<float*>(array.bytes.data());
      for (size_t k = 0; k < array.bytes.size() / sizeof(float); ++k)
        if (x[k] != 0) x[k] = std::nextafter(x[k], random() & 1 ? INFINITY : -INFINITY);
    }
  }
  llvm::Error stability() {
    constexpr int epochs = 3;
    auto curve = [&](llvm::Expected<std::unique_ptr<Stepper>> made, bool whole,
                     bool moved) -> llvm::Expected<std::vector<double>> {
      if (!made) return made.takeError();
      Stepper& stepper = **made;
      if (moved) move_weights(stepper);
      std::vector<double> out;
      for (int e = 0; e < epochs; ++e)
        for (const Batch& batch : batches_) {
          auto loss = stepper.step(dims_, whole ? std::vector<HostArrays>{batch.whole} : batch.ranks, rate());
          if (!loss) return loss.takeError();
          out.push_back(*loss);
        }
      return out;
    };
    auto a = curve(ranks_stepper(job_), false, false);
    auto b = curve(whole_stepper(job_), true, false);
    auto c = curve(whole_stepper(job_), true, true);
    if (!a || !b || !c) return llvm::joinErrors(a.takeError(), llvm::joinErrors(b.takeError(), c.takeError()));
    Row row{"stability",
            "the unpartitioned run's losses; allowed: 8 x what a last-bit change of the weights moves them",
            "",
            int64_t(a->size()),
            int64_t(a->size()),
            0,
            1,
            true};
    double yardstick = 0;
    for (size_t k = 0; k < a->size(); ++k) {
      yardstick = std::max({yardstick, std::fabs((*b)[k] - (*c)[k]), 4 * float32_rounding * std::fabs((*b)[k])});
      const double ratio = std::isfinite((*a)[k]) ? std::fabs((*a)[k] - (*b)[k]) / (8 * yardstick) : INFINITY;
      row.error = std::max(row.error, ratio);
      if (!(ratio <= 1))
        fail(row, differs("loss", llvm::formatv("{0}", (*b)[k]).str(), llvm::formatv("{0}", (*a)[k]).str())
                      .within(words("step " + llvm::Twine(k + 1))));
    }
    if (!(a->back() + (*a)[a->size() - 2] < (*a)[0] + (*a)[1]))
      fail(row, error(Code::difference,
                      llvm::formatv("the loss does not fall: {0} at first, {1} at last", (*a)[0], a->back()).str()));
    row.note = llvm::formatv("loss {0:F4} to {1:F4}", (*a)[0], a->back()).str();
    rows_.push_back(std::move(row));
    return llvm::Error::success();
  }

  const TrainingCheckOptions& o_;
  JobOptions job_options_;
  const Job& forward_;  // annotated
  Job job_;
  DimValues dims_;
  std::vector<Batch> batches_;
  NamedArrays truth_;
  std::map<std::string, double> addends_;  // the largest of what was summed up to a gradient
  std::vector<Memory> memory_;
  std::vector<Row> rows_;
  std::optional<Diagnostic> fault_;
};
}  // namespace

llvm::Expected<TrainingCheck> check_training(const TrainingCheckOptions& options, const Job& forward) {
  return TrainingChecker(options, forward).run();
}
}  // namespace optp
