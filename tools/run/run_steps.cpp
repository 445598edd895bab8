#include <cstring>

#include "frontend/io/interrupts.h"
#include "frontend/io/json.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/training.h"
#include "tools/cli/progress.h"
#include "tools/run/labels.h"
#include "tools/run/outputs.h"
#include "tools/run/run.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/stepper.h"
#include "tools/run/tensor_folder.h"
#include "tools/run/trace.h"

namespace optp {
namespace {
HostArray transposed(const HostArray& in) {
  HostArray out{in.dtype, {in.dims[1], in.dims[0]}, std::vector<char>(in.bytes.size())};
  const size_t element = size_t(size_bytes(in.dtype)), rows = size_t(in.dims[0]), columns = size_t(in.dims[1]);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      std::memcpy(out.bytes.data() + (c * rows + r) * element, in.bytes.data() + (r * columns + c) * element, element);
  return out;
}
}  // namespace

llvm::Error run_steps(const RunOptions& o, const Plan& plan, std::vector<std::unique_ptr<Graph>> graphs) {
  using Role = Plan::Role;
  bool dump_gradients = false, dump_parameters = false, dump_state = false;
  for (const std::string& what : o.dump) {
    if (what == "gradients")
      dump_gradients = true;
    else if (what == "parameters")
      dump_parameters = true;
    else if (what == "state")
      dump_state = true;
    else
      return error(Code::bad_value).flag("--dump", quoted(what)).expected("gradients, parameters or state");
  }
  TrainingOptions asked;
  asked.learning_rate = o.learning_rate;
  if (auto outside = outside_domain(asked))
    return error(Code::bad_value).flag(outside->flag).expected(outside->expected).found(outside->found);
  if (o.steps < 0) return error(Code::bad_value).flag("--steps").expected("at least 1");
  const size_t devices = graphs.size();
  std::vector<Port> data;
  for (const Port& p : plan.inputs)
    if (p.role == Role::data || p.role == Role::labels) data.push_back(p);
  for (auto& graph : graphs) {
    for (const Plan::Update& u : plan.updates) {
      const auto port = llvm::find_if(plan.inputs, [&](const Port& p) { return p.name == u.input; });
      graph->updates.push_back({u.input, u.output, port->parameter, to_string(port->role).str()});
    }
    for (const Port& p : plan.outputs)
      if (p.role == Role::gradient) graph->gradients.push_back({p.parameter, p.name});
  }
  std::optional<Progress> preparing(std::in_place, "preparing");
  SlowNodes slow;
  auto stepper = Stepper::create(
      std::move(graphs),
      {.threads_per_device = o.threads, .gradients = dump_gradients, .profile = !o.profile.empty(), .slow = &slow});
  if (!stepper) return stepper.takeError();

  std::vector<Batch> batches;
  std::vector<std::string> folders = o.inputs_dirs;
  if (folders.empty()) folders.push_back("");
  for (const std::string& folder : folders) {
    auto batch = read_batch(o.inputs, o.dims, folder, data);
    if (!batch) return batch.takeError();
    batches.push_back(std::move(*batch));
  }
  llvm::json::Array losses;
  Trace trace;
  DimValues dims;
  // A step takes as many folders as it has micro-batches.
  const int64_t micro_batches = plan.training->accumulate;
  const int64_t steps = o.steps ? o.steps : std::max<int64_t>(1, int64_t(batches.size()) / micro_batches);
  preparing.reset();
  std::optional<Progress> progress(std::in_place, "training", steps * micro_batches);
  int64_t counted = 0;  // labels of the step
  for (int64_t m = 0; m < steps * micro_batches; ++m) {
    progress->set(m);
    const int64_t s = m / micro_batches;
    const Batch& batch = batches[size_t(m) % batches.size()];
    auto shards = take_shards(batch, data, devices);
    if (!shards) return shards.takeError();
    if (interrupting_signal()) return error(Code::interrupted).in_file(o.out).what("interrupted, nothing was written");
    for (const Port& p : data)
      if (p.role == Role::labels) counted += counted_labels(batch.arrays.find(p.name)->second);
    if ((m + 1) % micro_batches != 0) {
      if (auto e = (*stepper)->accumulate(batch.dims, std::move(*shards)))
        return within(words("step " + llvm::Twine(s + 1)), std::move(e));
      continue;
    }
    if (counted == 0) return within(words("step " + llvm::Twine(s + 1)), no_label_counts());
    counted = 0;
    auto loss =
        (*stepper)->step(batch.dims, std::move(*shards), o.learning_rate.value_or(*plan.training->learning_rate));
    if (!loss) return within(words("step " + llvm::Twine(s + 1)), loss.takeError());
    if (!o.profile.empty()) trace.add("step " + std::to_string(s + 1), *(*stepper)->last_run());
    losses.push_back(number_or_null(*loss));
    dims = batch.dims;
  }
  if (interrupting_signal()) return error(Code::interrupted).in_file(o.out).what("interrupted, nothing was written");

  if (!o.profile.empty())
    if (auto e = trace.write(o.profile, plan.model.name)) return e;
  std::vector<std::string> files;
  std::vector<HostArray> arrays;
  llvm::json::Object gradients, parameters, state;
  // Under each of the parameter's names, in that name's own layout.
  auto add = [&](const Port& port, llvm::function_ref<const HostArray*(size_t)> part,
                 llvm::function_ref<void(llvm::StringRef name, std::string file)> note,
                 llvm::StringRef suffix) -> llvm::Error {
    auto whole = join(port, dims, part);
    if (!whole) return whole.takeError();
    const auto entry =
        llvm::find_if(plan.parameters, [&](const Plan::Parameter& p) { return p.name == port.parameter; });
    auto write = [&](llvm::StringRef name, HostArray array) {
      std::string file = std::to_string(files.size()) + "-" + file_name_of(name).substr(0, 120) + suffix.str() + ".npy";
      files.push_back(file);
      arrays.push_back(std::move(array));
      note(name, file);
    };
    if (entry != plan.parameters.end())
      for (const std::string& alias : entry->aliases) {
        const bool turned = llvm::is_contained(entry->transposed_aliases, alias) && whole->dims.size() == 2;
        write(alias, turned ? transposed(*whole) : *whole);
      }
    write(port.parameter, std::move(*whole));
    return llvm::Error::success();
  };
  for (const Port& p : plan.outputs)
    if (p.role == Role::gradient && dump_gradients)
      if (auto e = add(
              p, [&](size_t r) { return (*stepper)->gradient(r, p.name); },
              [&](llvm::StringRef name, std::string file) { gradients[name.str()] = file; }, ".grad"))
        return e;
  for (const Port& p : plan.inputs) {
    auto held = [&](size_t r) { return &(*stepper)->values(r)[p.name]; };
    if (p.role == Role::parameter && dump_parameters)
      if (auto e = add(p, held, [&](llvm::StringRef name, std::string file) { parameters[name.str()] = file; }, ""))
        return e;
    if (p.role == Role::state && dump_state)
      if (auto e = add(
              p, held,
              [&](llvm::StringRef name, std::string file) {
                if (!state.getObject(name)) state[name.str()] = llvm::json::Object();
                (*state.getObject(name))[p.kind] = file;
              },
              "." + file_name_of(p.kind)))
        return e;
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv(
      "{0:2}\n", llvm::json::Value(llvm::json::Object{{"losses", std::move(losses)},
                                                      {"gradients", std::move(gradients)},
                                                      {"parameters", std::move(parameters)},
                                                      {"state", std::move(state)}}));
  if (auto e = write_outputs(o.out, files, arrays, text)) return e;
  progress.reset();
  slow.print();
  llvm::outs() << text;
  return llvm::Error::success();
}
}  // namespace optp
