// run: a partitioned model on given inputs. Reads only what partition wrote: plan.json and the rank graphs.
#include "tools/run/run.h"

#include "frontend/io/manifest.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/pipeline.h"
#include "passes/plan/job.h"
#include "passes/plan/plan_json.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"
#include "tools/run/draw_weights.h"
#include "tools/run/execution.h"
#include "tools/run/labels.h"
#include "tools/run/machine_memory.h"
#include "tools/run/outputs.h"
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
llvm::Expected<Batch> read_batch(llvm::ArrayRef<std::string> given, llvm::ArrayRef<std::string> asked,
                                 llvm::StringRef folder, llvm::ArrayRef<Port> inputs) {
  // Whole inputs are matched with the plan's global shapes.
  Graph global;
  std::vector<InputSpec> specs;  // a rank graph knows of the rows it holds only; of all rows the plan
  for (const Port& p : inputs) {
    global.add_input(p.name, {p.dtype, p.dims});
    specs.push_back({p.name, p.dtype, p.dims, p.rows});
  }
  auto dims = parse_dims(asked);
  if (!dims) return dims.takeError();
  auto arrays = make_inputs(
      specs, given, folder, *dims,
      [&](const Shapes& shapes, DimValues values) { return bind_input_dims(global, shapes, std::move(values)); },
      false);
  if (!arrays) return arrays.takeError();
  Shapes shapes;
  for (const auto& [name, a] : *arrays) shapes[name].assign(a.dims.begin(), a.dims.end());
  auto bound = bind_input_dims(global, shapes, *dims);
  if (!bound) return bound.takeError();
  for (const Port& p : inputs)
    if (p.role == Plan::Role::labels)
      if (auto e = check_labels({tensor_place("input", p.name)}, arrays->find(p.name)->second, p, *bound))
        return folder.empty() ? std::move(e) : within(file_place(folder), std::move(e));
  return Batch{std::move(*arrays), std::move(*bound)};
}
llvm::Expected<std::vector<HostArrays>> take_shards(const Batch& batch, llvm::ArrayRef<Port> inputs, size_t devices) {
  std::vector<HostArrays> out(devices);
  for (size_t r = 0; r < devices; ++r)
    for (const Port& p : inputs) {
      const HostArray& whole = batch.arrays.find(p.name)->second;
      auto shard = shard_of(p, r, batch.dims);
      if (!shard) return shard.takeError();
      out[r][p.name] = take(*shard, whole);
    }
  return out;
}

namespace {
llvm::Expected<std::vector<std::unique_ptr<Graph>>> load_ranks(const RunOptions& o, const Plan& plan) {
  std::vector<std::unique_ptr<Graph>> graphs;
  for (size_t r = 0; r < plan.devices.size(); ++r) {
    auto graph = read_rank(o.folder + "/" + plan.devices[r].file);
    if (!graph) return graph.takeError();
    if (!o.random_weights.empty()) {
      auto seed = parse_seed(o.random_weights);
      if (!seed) return seed.takeError();
      if (auto e = draw_shards(**graph, *seed, [&](const Value& v) { return data_shard(plan, v.name, r); })) return e;
    }
    if (auto e = need_weights(**graph)) return e;
    graphs.push_back(std::move(*graph));
  }
  return graphs;
}

llvm::Error run(const RunOptions& o) {
  std::optional<Progress> progress(std::in_place, "reading " + o.folder);
  auto plan = read_plan(o.folder);
  if (!plan) return plan.takeError();
  if (!o.no_verify)
    if (auto e = verify_manifest(o.folder, /*hashes=*/true, {}, /*others=*/true)) return e;
  auto loaded = load_ranks(o, *plan);
  if (!loaded) return loaded.takeError();
  std::vector<std::unique_ptr<Graph>> graphs = std::move(*loaded);
  progress.reset();
  if (plan->is_training()) return run_steps(o, *plan, std::move(graphs));
  if (o.steps || !o.dump.empty() || o.learning_rate || o.inputs_dirs.size() > 1)
    return error(Code::bad_value)
        .what("--steps, --dump, --lr and several --inputs-dir are for training plans")
        .hint("this one is for inference");
  auto batch = read_batch(o.inputs, o.dims, o.inputs_dirs.empty() ? "" : o.inputs_dirs[0], plan->inputs);
  if (!batch) return batch.takeError();
  auto rank_inputs = take_shards(*batch, plan->inputs, plan->devices.size());
  if (!rank_inputs) return rank_inputs.takeError();
  std::vector<std::unique_ptr<Graph>> bound;
  std::vector<const Graph*> ranks;
  for (const auto& graph : graphs) {
    auto g = bind_to_run(*graph, batch->dims);
    if (!g) return within(words("give every dim a value: --dim NAME=NUMBER"), g.takeError());
    bound.push_back(std::move(*g));
    ranks.push_back(bound.back().get());
  }
  Trace trace;
  SlowNodes slow;
  progress.emplace("running");
  auto results =
      execute(ranks, *rank_inputs,
              {.threads_per_device = o.threads, .trace = o.profile.empty() ? nullptr : &trace, .slow = &slow});
  if (!results) return results.takeError();
  if (!o.profile.empty())
    if (auto e = trace.write(o.profile, plan->model.name)) return e;

  std::vector<HostArray> wholes;
  for (const Port& p : plan->outputs) {
    auto whole = join(p, batch->dims, [&](size_t r) { return &(*results)[r][p.name]; });
    if (!whole) return whole.takeError();
    wholes.push_back(std::move(*whole));
  }
  std::vector<std::string> files;
  for (const Port& p : plan->outputs) {
    std::string file = file_name_of(p.name);
    while (llvm::is_contained(files, file + ".npy")) file += "_";
    files.push_back(file + ".npy");
  }
  if (auto e = write_outputs(o.out, files, wholes, "")) return e;
  progress.reset();
  slow.print();
  for (size_t k = 0; k < files.size(); ++k) {
    llvm::outs() << o.out << "/" << files[k] << "  " << long_name(wholes[k].dtype) << " [";
    for (size_t d = 0; d < wholes[k].dims.size(); ++d) llvm::outs() << (d ? ", " : "") << wholes[k].dims[d];
    llvm::outs() << "]\n";
  }
  return llvm::Error::success();
}
}  // namespace

Command add_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* c = app.add_subcommand("run", "run a partitioned model and write its outputs as .npy files");
  c->add_option("plan", o->folder, "folder written by partition")->required()->type_name("DIR");
  c->add_option("--input", o->inputs,
                "NAME=@FILE (.npy, or .pb with an ONNX tensor), NAME=rand(SEED), NAME=ones, NAME=zeros (repeatable)");
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
  c->add_option("--dim", o->dims, "NAME=NUMBER (repeatable)");
  c->add_option("-o,--output", o->out, "folder for the outputs")->required()->type_name("DIR");
  c->add_option("--threads-per-device", o->threads, "OpenMP threads per device");
  c->add_option("--profile", o->profile, "write the timeline to this file, for Perfetto")->type_name("FILE");
  c->add_flag("--no-verify", o->no_verify, "do not compare the files with the manifest's sizes and hashes");
  c->add_option("--random-weights", o->random_weights, "SEED: draw random weights where their file is missing");
  return {c, [o] { return run(*o); }};
}
}  // namespace optp
