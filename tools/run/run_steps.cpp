#include "frontend/io/interrupts.h"
#include "frontend/io/json.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_parts.h"
#include "passes/training.h"
#include "tools/cli/progress.h"
#include "tools/run/arrays_at_root.h"
#include "tools/run/labels.h"
#include "tools/run/outputs.h"
#include "tools/run/run.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/stepper.h"
#include "tools/run/tensor_folder.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
// What --dump asks for.
struct Wanted {
  bool gradients = false, parameters = false, state = false;
};
llvm::Expected<Wanted> wanted_of(llvm::ArrayRef<std::string> dump) {
  Wanted out;
  for (const std::string& what : dump) {
    if (what == "gradients")
      out.gradients = true;
    else if (what == "parameters")
      out.parameters = true;
    else if (what == "state")
      out.state = true;
    else
      return error(Code::bad_value).flag("--dump", quoted(what)).expected("gradients, parameters or state");
  }
  return out;
}

llvm::Error interrupted(const RunOptions& o) {
  if (!interrupting_signal()) return llvm::Error::success();
  return error(Code::interrupted).in_file(o.out).what("interrupted, nothing was written");
}

// The steps one after the other. Gives the losses, and takes the extents of the last batch.
llvm::Expected<llvm::json::Array> make_steps(const RunOptions& o, const Plan& plan, World& world, Stepper& stepper,
                                             llvm::ArrayRef<Port> data, llvm::ArrayRef<Batch> batches, Trace& trace,
                                             DimValues& dims) {
  llvm::json::Array losses;
  // A step takes as many folders as it has micro-batches.
  const int64_t micro_batches = plan.training->accumulate;
  const int64_t steps = o.steps ? o.steps : std::max<int64_t>(1, int64_t(batches.size()) / micro_batches);
  Progress progress("training", steps * micro_batches);
  int64_t counted = 0;  // labels of the step
  for (int64_t m = 0; m < steps * micro_batches; ++m) {
    progress.set(m);
    const int64_t s = m / micro_batches;
    const Batch& batch = batches[size_t(m) % batches.size()];
    auto shards = take_shards(batch, data, world.held());
    if (!shards) return shards.takeError();
    if (auto e = interrupted(o)) return e;
    for (const Port& p : data)
      if (p.role == Plan::Role::labels) counted += counted_labels(batch.arrays.find(p.name)->second);
    const Place step = words("step " + llvm::Twine(s + 1));
    if ((m + 1) % micro_batches != 0) {
      if (auto e = stepper.accumulate(batch.dims, std::move(*shards))) return within(step, std::move(e));
      continue;
    }
    if (counted == 0) return within(step, no_label_counts());
    counted = 0;
    auto loss = stepper.step(batch.dims, *shards, o.learning_rate.value_or(*plan.training->learning_rate));
    if (!loss) return within(step, loss.takeError());
    if (!o.profile.empty()) trace.add("step " + std::to_string(s + 1), *stepper.last_run());
    losses.push_back(number_or_null(*loss));
    dims = batch.dims;
  }
  if (auto e = interrupted(o)) return e;
  return losses;
}

// What was asked for, whole: put together at the root, and written there.
class Dump {
 public:
  Dump(World& world, const Plan& plan, Stepper& stepper, const DimValues& dims)
      : world_(world), plan_(plan), stepper_(stepper), dims_(dims) {}

  // Together.
  llvm::Error take(const Wanted& wanted) {
    const auto gradient = [&](size_t r, llvm::StringRef name) { return stepper_.gradient(r, name); };
    const auto value = [&](size_t r, llvm::StringRef name) -> const HostArray* {
      return &stepper_.values(r)[name.str()];
    };
    for (const Port& p : plan_.outputs)
      if (p.role == Plan::Role::gradient && wanted.gradients)
        if (auto e = add(p, gradient, ".grad", [&](llvm::StringRef name) { return &gradients_[name.str()]; })) return e;
    for (const Port& p : plan_.inputs) {
      if (p.role == Plan::Role::parameter && wanted.parameters)
        if (auto e = add(p, value, "", [&](llvm::StringRef name) { return &parameters_[name.str()]; })) return e;
      if (p.role == Plan::Role::state && wanted.state)
        if (auto e = add(p, value, "." + file_name_of(p.kind), [&](llvm::StringRef name) {
              if (!state_.getObject(name)) state_[name.str()] = llvm::json::Object();
              return &(*state_.getObject(name))[p.kind];
            }))
          return e;
    }
    return llvm::Error::success();
  }
  llvm::Error write(const ResultFolder& folder, llvm::json::Array losses) {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::formatv(
        "{0:2}\n", llvm::json::Value(llvm::json::Object{{"losses", std::move(losses)},
                                                        {"gradients", std::move(gradients_)},
                                                        {"parameters", std::move(parameters_)},
                                                        {"state", std::move(state_)}}));
    if (auto e = write_outputs(folder, files_, arrays_, text)) return e;
    llvm::outs() << text;
    return llvm::Error::success();
  }

 private:
  // Under each of the parameter's names, in that name's own layout. `entry`: of the index, where the file's name goes.
  llvm::Error add(const Port& port, HeldArray held, llvm::StringRef suffix,
                  llvm::function_ref<llvm::json::Value*(llvm::StringRef name)> entry) {
    auto parts = ArraysAtRoot::gather(
        world_, port.name, [&](size_t r, llvm::StringRef name) { return is_copy(port, r) ? nullptr : held(r, name); });
    if (!parts) return parts.takeError();
    if (!world_.is_root()) return llvm::Error::success();
    auto whole = join(port, dims_, [&](size_t r) { return parts->find(r, port.name); });
    if (!whole) return whole.takeError();
    auto keep = [&](llvm::StringRef name, HostArray array) {
      files_.push_back(std::to_string(files_.size()) + "-" + file_name_of(name).substr(0, 120) + suffix.str() + ".npy");
      arrays_.push_back(std::move(array));
      *entry(name) = files_.back();
    };
    const auto parameter =
        llvm::find_if(plan_.parameters, [&](const Plan::Parameter& p) { return p.name == port.parameter; });
    if (parameter != plan_.parameters.end())
      for (const std::string& alias : parameter->aliases) {
        const bool turned = llvm::is_contained(parameter->transposed_aliases, alias) && whole->dims.size() == 2;
        keep(alias, turned ? transposed(*whole) : *whole);
      }
    keep(port.parameter, std::move(*whole));
    return llvm::Error::success();
  }

  World& world_;
  const Plan& plan_;
  Stepper& stepper_;
  const DimValues& dims_;
  std::vector<std::string> files_;
  std::vector<HostArray> arrays_;
  llvm::json::Object gradients_, parameters_, state_;
};
}  // namespace

void note_roles(Graph& graph, const Plan& plan) {
  for (const Plan::Update& u : plan.updates) {
    const auto port = llvm::find_if(plan.inputs, [&](const Port& p) { return p.name == u.input; });
    graph.updates.push_back({u.input, u.output, port->parameter, kind_of(*port)});
  }
  for (const Port& p : plan.outputs)
    if (p.role == Plan::Role::gradient) graph.gradients.push_back({p.parameter, p.name});
}

llvm::Error run_steps(const RunOptions& o, const Plan& plan, World& world, PerRank<std::unique_ptr<Graph>> graphs) {
  auto wanted = wanted_of(o.dump);
  if (!wanted) return wanted.takeError();
  TrainingOptions asked;
  asked.learning_rate = o.learning_rate;
  if (auto outside = outside_domain(asked))
    return error(Code::bad_value).flag(outside->flag).expected(outside->expected).found(outside->found);
  if (o.steps < 0) return error(Code::bad_value).flag("--steps").expected("at least 1");
  // What --dump names is not known before it is there: any that an earlier run numbered is one of ours.
  const ResultFolder results{o.out, o.overwrite, inputs_of(o), [](llvm::StringRef file) {
                               return file == "index.json" || (llvm::isDigit(file[0]) && file.ends_with(".npy"));
                             }};
  if (auto e = world.at_root([&] { return check_free(results); })) return e;
  std::vector<Port> data;
  for (const Port& p : plan.inputs)
    if (p.role == Plan::Role::data || p.role == Plan::Role::labels) data.push_back(p);
  std::optional<Progress> preparing(std::in_place, "preparing");
  for (const size_t r : world.held()) note_roles(*graphs[r], plan);
  SlowNodes slow;
  auto stepper = Stepper::create(
      world, std::move(graphs),
      {.threads_per_device = o.threads, .gradients = wanted->gradients, .profile = !o.profile.empty(), .slow = &slow});
  if (!stepper) return stepper.takeError();
  auto dims_asked = asked_dims(o.dims, data);
  if (!dims_asked) return dims_asked.takeError();
  if (auto e = check_names(plan, *dims_asked)) return e;
  std::vector<Batch> batches;
  std::vector<std::string> folders = o.inputs_dirs;
  if (folders.empty()) folders.push_back("");
  for (const std::string& folder : folders) {
    auto batch = read_batch(o.inputs, *dims_asked, folder, data);
    if (!batch) return batch.takeError();
    batches.push_back(std::move(*batch));
  }
  preparing.reset();
  Trace trace;
  DimValues dims;
  auto losses = make_steps(o, plan, world, **stepper, data, batches, trace, dims);
  if (!losses) return losses.takeError();
  if (!o.profile.empty()) {
    if (auto e = trace.gather(world)) return e;
    if (auto e = world.at_root([&] { return trace.write(o.profile, plan.model.name); })) return e;
  }
  Dump dump(world, plan, **stepper, dims);
  if (auto e = dump.take(*wanted)) return e;
  if (auto e = slow.gather(world)) return e;
  return world.at_root([&] {
    slow.print();
    return dump.write(results, std::move(*losses));
  });
}
}  // namespace optp
