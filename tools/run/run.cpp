// run: a partitioned model on given inputs. Reads only what partition wrote: plan.json and the rank graphs.
#include "tools/run/run.h"

#include "frontend/io/manifest.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/pipeline.h"
#include "passes/plan/job.h"
#include "passes/plan/plan_json.h"
#include "tools/cli/command.h"
#include "tools/cli/job_options.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/run/arrays_at_root.h"
#include "tools/run/draw_weights.h"
#include "tools/run/execution.h"
#include "tools/run/held_ranks.h"
#include "tools/run/labels.h"
#include "tools/run/machine_memory.h"
#include "tools/run/outputs.h"
#include "tools/run/same_plan.h"
#include "tools/run/slow_nodes.h"
#include "tools/run/tensor_folder.h"
#include "tools/run/trace.h"

namespace optp {
llvm::Expected<std::unique_ptr<Graph>> read_rank(llvm::StringRef model_file) {
  auto graph = import_onnx(model_file);
  if (!graph) return graph;
  if (auto e = prepare_emitted(**graph)) return e;
  return graph;
}
// Whole inputs are matched with the plan's global shapes.
static void add_inputs(Graph& global, llvm::ArrayRef<Port> inputs) {
  for (const Port& p : inputs) global.add_input(p.name, {p.dtype, p.dims});
}
std::vector<std::string> inputs_of(const RunOptions& o) {
  std::vector<std::string> out = o.inputs_dirs;
  out.push_back(o.folder);
  for (const std::string& given : o.inputs)
    if (const size_t at = given.rfind("=@"); at != std::string::npos) out.push_back(given.substr(at + 2));
  return out;
}
llvm::Expected<DimValues> asked_dims(const AskedDims& asked, llvm::ArrayRef<Port> inputs) {
  Graph global;
  add_inputs(global, inputs);
  return asked_dims(global, asked);
}
llvm::Error check_names(const Plan& plan, const DimValues& asked) {
  std::vector<std::string> known;
  for (const auto& [name, info] : plan.dims) known.push_back(name);
  return check_asked_names("model", known, asked);
}
llvm::Expected<Batch> read_batch(llvm::ArrayRef<std::string> given, const DimValues& asked, llvm::StringRef folder,
                                 llvm::ArrayRef<Port> inputs) {
  Graph global;
  add_inputs(global, inputs);
  std::vector<InputSpec> specs;  // a rank graph knows of the rows it holds only; of all rows the plan
  for (const Port& p : inputs) specs.push_back({p.name, p.dtype, p.dims, p.rows});
  DimValues dims = asked;
  auto arrays = make_inputs(
      specs, given, folder, dims,
      [&](const Shapes& shapes, DimValues values) { return bind_input_dims(global, shapes, std::move(values)); },
      /*invented=*/nullptr);
  if (!arrays) return arrays.takeError();
  Shapes shapes;
  for (const auto& [name, a] : *arrays) shapes[name].assign(a.dims.begin(), a.dims.end());
  auto bound = bind_input_dims(global, shapes, dims);
  if (!bound) return bound.takeError();
  for (const Port& p : inputs)
    if (p.role == Plan::Role::labels)
      if (auto e = check_labels({tensor_place("input", p.name)}, arrays->find(p.name)->second, p, *bound))
        return folder.empty() ? std::move(e) : within(file_place(folder), std::move(e));
  return Batch{std::move(*arrays), std::move(*bound)};
}
llvm::Expected<PerRank<HostArrays>> take_shards(const Batch& batch, llvm::ArrayRef<Port> inputs,
                                                llvm::ArrayRef<size_t> ranks) {
  PerRank<HostArrays> out(ranks);
  for (const size_t r : ranks)
    for (const Port& p : inputs) {
      const HostArray& whole = batch.arrays.find(p.name)->second;
      auto shard = shard_of(p, r, batch.dims);
      if (!shard) return shard.takeError();
      out[r][p.name] = take(*shard, whole);
    }
  return out;
}

namespace {
std::vector<std::string> result_files(const Plan& plan) {
  std::vector<std::string> files;
  for (const Port& p : plan.outputs) {
    std::string file = file_name_of(p.name);
    while (llvm::is_contained(files, file + ".npy")) file += "_";
    files.push_back(file + ".npy");
  }
  return files;
}
// The results put together and written.
llvm::Error write_results(const RunOptions& o, const Plan& plan, const DimValues& dims, const ArraysAtRoot& results,
                          const ResultFolder& folder, llvm::ArrayRef<std::string> files) {
  std::vector<HostArray> wholes;
  for (const Port& p : plan.outputs) {
    auto whole = join(p, dims, [&](size_t r) { return results.find(r, p.name); });
    if (!whole) return whole.takeError();
    wholes.push_back(std::move(*whole));
  }
  if (auto e = write_outputs(folder, files, wholes, "")) return e;
  for (size_t k = 0; k < files.size(); ++k) {
    llvm::outs() << o.out << "/" << files[k] << "  " << long_name(wholes[k].dtype) << " [";
    for (size_t d = 0; d < wholes[k].dims.size(); ++d) llvm::outs() << (d ? ", " : "") << wholes[k].dims[d];
    llvm::outs() << "]\n";
  }
  return llvm::Error::success();
}

llvm::Error run_once(const RunOptions& o, const Plan& plan, World& world,
                     const PerRank<std::unique_ptr<Graph>>& graphs) {
  if (o.steps || !o.dump.empty() || o.learning_rate || o.inputs_dirs.size() > 1)
    return error(Code::bad_value)
        .what("--steps, --dump, --lr and several --inputs-dir are for training plans")
        .hint("this one is for inference");
  const std::vector<std::string> files = result_files(plan);
  const ResultFolder folder{o.out, o.overwrite, inputs_of(o),
                            [&](llvm::StringRef file) { return llvm::is_contained(files, file); }};
  if (auto e = world.at_root([&] { return check_free(folder); })) return e;
  auto asked = asked_dims(o.dims, plan.inputs);
  if (!asked) return asked.takeError();
  if (auto e = check_names(plan, *asked)) return e;
  auto batch = read_batch(o.inputs, *asked, o.inputs_dirs.empty() ? "" : o.inputs_dirs[0], plan.inputs);
  if (!batch) return batch.takeError();
  auto inputs = take_shards(*batch, plan.inputs, world.held());
  if (!inputs) return inputs.takeError();
  PerRank<std::unique_ptr<Graph>> bound(world.held());
  for (const size_t r : world.held()) {
    auto g = bind_to_run(*graphs[r], batch->dims);
    if (!g) return within(words("give every dim a value: --dim NAME=NUMBER"), g.takeError());
    bound[r] = std::move(*g);
  }
  PerRank<llvm::StringSet<>> unread(world.held());
  for (const size_t r : world.held())
    for (const Port& p : plan.outputs)
      if (is_copy(p, r)) unread[r].insert(p.name);
  Trace trace;
  SlowNodes slow;
  std::optional<Progress> progress(std::in_place, "running");
  auto results = execute(world, pointers_to(bound), *inputs,
                         {.threads_per_device = o.threads,
                          .unread = &unread,
                          .trace = o.profile.empty() ? nullptr : &trace,
                          .slow = &slow});
  if (!results) return results.takeError();
  if (!o.profile.empty()) {
    if (auto e = trace.gather(world)) return e;
    if (auto e = world.at_root([&] { return trace.write(o.profile, plan.model.name); })) return e;
  }
  std::vector<std::string> names;
  for (const Port& p : plan.outputs) names.push_back(p.name);
  auto all = ArraysAtRoot::gather(world, names, [&](size_t r, llvm::StringRef name) -> const HostArray* {
    const auto it = (*results)[r].find(name);
    return it == (*results)[r].end() ? nullptr : &it->second;
  });
  if (!all) return all.takeError();
  if (auto e = slow.gather(world)) return e;
  progress.reset();
  return world.at_root([&] {
    slow.print();
    return write_results(o, plan, batch->dims, *all, folder, files);
  });
}

llvm::Error run(const RunOptions& o, const WorldMaker& make_world) {
  std::optional<Progress> progress(std::in_place, "reading " + o.folder);
  auto plan = read_plan(o.folder);
  auto made = make_world(plan ? llvm::Expected<size_t>(plan->devices.size()) : plan.takeError());
  if (!made) return made.takeError();
  World& world = **made;
  return world.run([&]() -> llvm::Error {
    if (auto e = world.at_root([&] { return check_places_for_files({o.profile}); })) return e;
    if (auto e = same_plan(world, o.folder)) return e;
    if (!o.no_verify)
      if (auto e = verify_held(o.folder, *plan, world)) return e;
    auto graphs = read_held(o.folder, *plan, world, o.random_weights);
    if (!graphs) return graphs.takeError();
    progress.reset();
    if (plan->is_training()) return run_steps(o, *plan, world, std::move(*graphs));
    return run_once(o, *plan, world, *graphs);
  });
}
}  // namespace

Command add_run(CLI::App& app, WorldMaker make_world) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* c = app.add_subcommand("run", "run a partitioned model and write its outputs as .npy files");
  c->add_option("plan", o->folder, "folder written by partition")->required()->type_name("DIR");
  c->add_option("--input", o->inputs, input_help);
  c->add_option("--inputs-dir", o->inputs_dirs,
                "folder with NAME.npy or NAME.pb for every input, or input_0.pb … as ONNX's test data have them "
                "(training: repeatable, taken in turn)")
      ->type_name("DIR")
      ->allow_extra_args(false);
  c->add_option("--steps", o->steps, "training plans: number of steps (default: one per folder of inputs)");
  c->add_option("--dump", o->dump, "training plans: what else to write")
      ->type_name("gradients|parameters|state")
      ->delimiter(',')
      ->allow_extra_args(false);
  c->add_option("--lr", o->learning_rate, "training plans: a learning rate other than the plan's");
  add_dims(*c, o->dims);
  c->add_option("-o,--output", o->out, "folder for the outputs")->required()->type_name("DIR");
  also_called(c->add_option("--threads-per-device", o->threads, "OpenMP threads per device"),
              {"threads", "num-threads", "omp-threads"});
  also_called(
      c->add_option("--profile", o->profile, "write the timeline to this file, for Perfetto")->type_name("FILE"),
      {"trace", "timeline"});
  also_called(c->add_flag("--overwrite", o->overwrite, "replace the folder whatever it holds"), {"force", "replace"});
  c->add_flag("--no-verify", o->no_verify, "do not compare the files with the manifest's sizes and hashes");
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {.app = c, .run = [o, make_world = std::move(make_world)] { return run(*o, make_world); }, .runs_ranks = true};
}
}  // namespace optp
