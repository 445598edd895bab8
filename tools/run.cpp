// run: a partitioned model on given inputs. Reads only what partition wrote: plan.json and the rank graphs.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/passes.h"
#include "tools/command.h"
#include "tools/draw_weights.h"
#include "tools/execution.h"
#include "tools/inputs.h"
#include "tools/plan.h"
#include "tools/ports.h"
#include "tools/stepper.h"

namespace optp {
namespace {
struct RunOptions {
  std::string folder, out;
  std::vector<std::string> inputs, dims, inputs_dirs, dump;
  int64_t steps = 0;
  std::optional<double> learning_rate;
  int64_t threads = 0;
  std::string random_weights;
  bool no_verify = false;
};

// All outputs or none: they lie in a hidden folder until the last is written.
llvm::Error write_outputs(const std::string& folder, llvm::ArrayRef<std::string> files, llvm::ArrayRef<HostArray> arrays, llvm::StringRef index) {
  namespace fs = std::filesystem;
  const auto failed = [&](int error_number) { return error(Fault::cannot_write, folder + ": " + reason(error_number)); };
  const DeferInterrupts defer;
  const bool made = mkdir(folder.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) return failed(errno);
  std::string hidden = folder + "/.run-XXXXXX";
  if (!mkdtemp(hidden.data())) return failed(errno);
  const auto clean = llvm::make_scope_exit([&] {
    std::error_code ignored;
    fs::remove_all(hidden, ignored);
    if (made) rmdir(folder.c_str());  // only if nothing is in it
  });
  for (size_t k = 0; k < files.size(); ++k) {
    if (auto e = write_npy(hidden + "/" + files[k], arrays[k])) return e;
    if (interrupting_signal()) return error(Fault::interrupted, folder + ": interrupted, nothing was written");
  }
  auto place = [&](llvm::StringRef file) { return rename((hidden + "/" + file).str().c_str(), (folder + "/" + file).str().c_str()) == 0; };
  for (const std::string& file : files)
    if (!place(file)) return failed(errno);
  if (!index.empty()) {
    std::error_code code;
    llvm::raw_fd_ostream stream(hidden + "/index.json", code);
    if (!code) stream << index;
    stream.close();
    if (code || stream.has_error() || !place("index.json")) {
      stream.clear_error();
      return failed(code ? code.value() : EIO);
    }
  }
  return llvm::Error::success();
}

llvm::Expected<std::vector<std::unique_ptr<Graph>>> load_ranks(const RunOptions& o, const llvm::json::Object& top, size_t devices) {
  std::vector<std::unique_ptr<Graph>> graphs;
  PassOptions passes;
  for (size_t r = 0; r < devices; ++r) {
    auto graph = import_onnx(o.folder + "/rank" + std::to_string(r) + "/model.onnx");
    if (!graph) return graph.takeError();
    if (auto e = absorb_transposes(**graph, passes)) return e;
    if (auto e = merge_views(**graph, passes)) return e;
    (*graph)->erase_dead();
    if (!o.random_weights.empty()) {
      auto seed = parse_seed(o.random_weights);
      if (!seed) return seed.takeError();
      if (auto e = draw_shards(**graph, *seed, [&](const Value& v) { return shard_in(top, v.name, r); })) return e;
    }
    if (auto e = need_weights(**graph)) return e;
    graphs.push_back(std::move(*graph));
  }
  return graphs;
}

// The whole inputs of one run or step, and the named dims that their shapes say.
struct Batch {
  HostArrays arrays;
  DimValues dims;
};
llvm::Expected<Batch> read_batch(const RunOptions& o, llvm::StringRef folder, llvm::ArrayRef<Port> inputs) {
  // Whole inputs are matched with the plan's global shapes.
  Graph global;
  std::vector<InputSpec> specs;  // a rank graph knows of the rows it holds only; of all rows the plan
  for (const Port& p : inputs) {
    global.add_input(p.name, {p.dtype, p.dims});
    specs.push_back({p.name, long_name(p.dtype).str(), p.dims, p.rows});
  }
  auto dims = parse_dims(o.dims);
  if (!dims) return dims.takeError();
  auto arrays = make_inputs(specs, o.inputs, folder, *dims, [&](const Shapes& shapes, DimValues values) { return bind_input_dims(global, shapes, std::move(values)); }, false);
  if (!arrays) return arrays.takeError();
  Shapes shapes;
  for (const auto& [name, a] : *arrays) shapes[name].assign(a.dims.begin(), a.dims.end());
  auto bound = bind_input_dims(global, shapes, *dims);
  if (!bound) return bound.takeError();
  return Batch{std::move(*arrays), std::move(*bound)};
}
llvm::Expected<std::vector<HostArrays>> shards_of(const Batch& batch, llvm::ArrayRef<Port> inputs, size_t devices) {
  std::vector<HostArrays> out(devices);
  for (size_t r = 0; r < devices; ++r)
    for (const Port& p : inputs) {
      const HostArray& whole = batch.arrays.find(p.name)->second;
      auto at = rank_indices(p, r, batch.dims, whole.dims);
      if (!at) return at.takeError();
      out[r][p.name] = take(whole, *at);
    }
  return out;
}

HostArray transposed(const HostArray& in) {
  HostArray out{in.dtype, {in.dims[1], in.dims[0]}, std::vector<char>(in.bytes.size())};
  const size_t element = size_t(size_bytes(in.dtype)), rows = size_t(in.dims[0]), columns = size_t(in.dims[1]);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) std::memcpy(out.bytes.data() + (c * rows + r) * element, in.bytes.data() + (r * columns + c) * element, element);
  return out;
}

// Steps of a training plan on given inputs, the folders in turn. Writes index.json: the losses, and where what was asked
// for lies, whole and in the layout and under the names of the model's initializers.
llvm::Error run_steps(const RunOptions& o, const llvm::json::Object& top, std::vector<std::unique_ptr<Graph>> graphs, llvm::ArrayRef<Port> inputs, llvm::ArrayRef<Port> outputs) {
  bool dump_gradients = false, dump_parameters = false, dump_state = false;
  for (const std::string& what : o.dump) {
    if (what == "gradients") dump_gradients = true;
    else if (what == "parameters") dump_parameters = true;
    else if (what == "state") dump_state = true;
    else return error(Fault::usage, "--dump " + quoted(what) + ": expected gradients, parameters or state");
  }
  if (o.steps < 0) return error(Fault::usage, "--steps: expected at least 1");
  const size_t devices = graphs.size();
  std::vector<Port> data;
  for (const Port& p : inputs)
    if (p.role == "data" || p.role == "labels") data.push_back(p);
  const auto* updates = top.getArray("updates");
  const auto* training = top.getObject("training");
  if (!updates || !training || !training->getNumber("learning_rate")) return bad_input("plan.json: updates or training.learning_rate is missing");
  for (auto& graph : graphs) {
    for (const auto& entry : *updates) {
      const auto* u = entry.getAsObject();
      if (!u || !u->getString("input") || !u->getString("output")) return bad_input("plan.json: an entry of updates is malformed");
      graph->updates.push_back({u->getString("input")->str(), u->getString("output")->str(), "", ""});
    }
    for (const Port& p : outputs)
      if (p.role == "gradient") graph->gradients.push_back({p.parameter, p.name});
  }
  auto stepper = Stepper::create(std::move(graphs), {.threads_per_device = o.threads, .gradients = dump_gradients});
  if (!stepper) return stepper.takeError();

  std::vector<Batch> batches;
  std::vector<std::string> folders = o.inputs_dirs;
  if (folders.empty()) folders.push_back("");
  for (const std::string& folder : folders) {
    auto batch = read_batch(o, folder, data);
    if (!batch) return batch.takeError();
    batches.push_back(std::move(*batch));
  }
  llvm::json::Array losses;
  DimValues dims;
  const int64_t steps = o.steps ? o.steps : int64_t(batches.size());
  for (int64_t s = 0; s < steps; ++s) {
    const Batch& batch = batches[size_t(s) % batches.size()];
    auto shards = shards_of(batch, data, devices);
    if (!shards) return shards.takeError();
    auto loss = (*stepper)->step(batch.dims, std::move(*shards), o.learning_rate.value_or(*training->getNumber("learning_rate")));
    if (!loss) return with_prefix("step " + llvm::Twine(s + 1), loss.takeError());
    losses.push_back(*loss);
    dims = batch.dims;
    if (interrupting_signal()) return error(Fault::interrupted, o.out + ": interrupted, nothing was written");
  }

  std::vector<std::string> files;
  std::vector<HostArray> arrays;
  llvm::json::Object gradients, parameters, state;
  // Under each of the parameter's names, in that name's own layout.
  auto add = [&](const Port& port, llvm::function_ref<const HostArray*(size_t)> part, llvm::function_ref<void(llvm::StringRef name, std::string file)> note, llvm::StringRef suffix) -> llvm::Error {
    auto whole = join(port, dims, part, devices);
    if (!whole) return whole.takeError();
    const llvm::json::Object* entry = nullptr;
    for (const auto& p : *top.getArray("parameters"))
      if (p.getAsObject() && p.getAsObject()->getString("name") == llvm::StringRef(port.parameter)) entry = p.getAsObject();
    auto write = [&](llvm::StringRef name, HostArray array) {
      std::string file = std::to_string(files.size()) + "-" + file_name_of(name).substr(0, 120) + suffix.str() + ".npy";
      files.push_back(file);
      arrays.push_back(std::move(array));
      note(name, file);
    };
    for (const auto& alias : entry && entry->getArray("aliases") ? *entry->getArray("aliases") : llvm::json::Array()) {
      const auto* turned = entry->getArray("transposed_aliases");
      const bool is_turned = turned && llvm::is_contained(*turned, alias) && whole->dims.size() == 2;
      if (auto name = alias.getAsString()) write(*name, is_turned ? transposed(*whole) : *whole);
    }
    write(port.parameter, std::move(*whole));
    return llvm::Error::success();
  };
  for (const Port& p : outputs)
    if (p.role == "gradient" && dump_gradients)
      if (auto e = add(p, [&](size_t r) { return (*stepper)->gradient(r, p.name); }, [&](llvm::StringRef name, std::string file) { gradients[name.str()] = file; }, ".grad")) return e;
  for (const Port& p : inputs) {
    auto held = [&](size_t r) { return &(*stepper)->values(r)[p.name]; };
    if (p.role == "parameter" && dump_parameters)
      if (auto e = add(p, held, [&](llvm::StringRef name, std::string file) { parameters[name.str()] = file; }, "")) return e;
    if (p.role == "state" && dump_state)
      if (auto e = add(p, held, [&](llvm::StringRef name, std::string file) {
            if (!state.getObject(name)) state[name.str()] = llvm::json::Object();
            (*state.getObject(name))[p.kind] = file;
          }, "." + file_name_of(p.kind))) return e;
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}\n", llvm::json::Value(llvm::json::Object{{"losses", std::move(losses)}, {"gradients", std::move(gradients)}, {"parameters", std::move(parameters)}, {"state", std::move(state)}}));
  if (auto e = write_outputs(o.out, files, arrays, text)) return e;
  llvm::outs() << text;
  return llvm::Error::success();
}

llvm::Error run(const RunOptions& o) {
  auto plan = read_plan(o.folder);
  if (!plan) return plan.takeError();
  if (!o.no_verify)
    if (auto e = verify_manifest(o.folder, /*hashes=*/true, {}, /*others=*/true)) return e;
  const auto& top = *plan->getAsObject();
  const auto* mesh = top.getObject("mesh");
  const int64_t devices = mesh ? mesh->getInteger("devices").value_or(0) : 0;
  if (devices < 1 || devices > 4096) return bad_input(o.folder + "/plan.json: mesh.devices: expected from 1 to 4096");
  auto inputs = ports(top, "inputs", size_t(devices)), outputs = ports(top, "outputs", size_t(devices));
  if (!inputs || !outputs) return llvm::joinErrors(inputs.takeError(), outputs.takeError());

  auto loaded = load_ranks(o, top, size_t(devices));
  if (!loaded) return loaded.takeError();
  std::vector<std::unique_ptr<Graph>> graphs = std::move(*loaded);
  if (top.getString("job") == llvm::StringRef("training")) return run_steps(o, top, std::move(graphs), *inputs, *outputs);
  if (o.steps || !o.dump.empty() || o.learning_rate || o.inputs_dirs.size() > 1) return error(Fault::usage, "--steps, --dump, --lr and several --inputs-dir are for training plans; this one is for inference");
  auto batch = read_batch(o, o.inputs_dirs.empty() ? "" : o.inputs_dirs[0], *inputs);
  if (!batch) return batch.takeError();
  auto rank_inputs = shards_of(*batch, *inputs, size_t(devices));
  if (!rank_inputs) return rank_inputs.takeError();
  std::vector<std::unique_ptr<Graph>> bound;
  std::vector<const Graph*> ranks;
  for (const auto& graph : graphs) {
    auto g = bind_dims(*graph, batch->dims);
    if (!g) return with_prefix("to bind all extents give --dim NAME=NUMBER", g.takeError());
    bound.push_back(std::move(*g));
    ranks.push_back(bound.back().get());
  }
  auto results = execute(ranks, *rank_inputs, {.threads_per_device = o.threads});
  if (!results) return results.takeError();

  std::vector<HostArray> wholes;
  for (const Port& p : *outputs) {
    auto whole = join(p, batch->dims, [&](size_t r) { return &(*results)[r][p.name]; }, size_t(devices));
    if (!whole) return whole.takeError();
    wholes.push_back(std::move(*whole));
  }
  std::vector<std::string> files;
  for (const Port& p : *outputs) {
    std::string file = file_name_of(p.name);
    while (llvm::is_contained(files, file + ".npy")) file += "_";
    files.push_back(file + ".npy");
  }
  if (auto e = write_outputs(o.out, files, wholes, "")) return e;
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
  CLI::App* c = app.add_subcommand("run", "run a partitioned model; outputs become .npy files");
  c->add_option("plan", o->folder, "folder written by partition")->required();
  c->add_option("--input", o->inputs, "NAME=@FILE (.npy, or .pb with an ONNX tensor), NAME=rand(SEED), NAME=ones, NAME=zeros (repeatable)");
  c->add_option("--inputs-dir", o->inputs_dirs, "folder with NAME.npy or NAME.pb for every input (training: repeatable, taken in turn)")->allow_extra_args(false);
  c->add_option("--steps", o->steps, "of a training plan: how many steps; one for each folder of inputs if not given");
  c->add_option("--dump", o->dump, "of a training plan: gradients, parameters, state")->delimiter(',')->allow_extra_args(false);
  c->add_option("--lr", o->learning_rate, "of a training plan: a learning rate other than the plan's");
  c->add_option("--dim", o->dims, "NAME=NUMBER (repeatable)");
  c->add_option("-o,--output", o->out, "folder for the outputs")->required();
  c->add_option("--threads-per-device", o->threads, "OpenMP threads of each device");
  c->add_flag("--no-verify", o->no_verify, "do not compare the files with the manifest's sizes and hashes");
  c->add_option("--random-weights", o->random_weights, "SEED: draw weights whose file is missing");
  return {c, [o] { return run(*o); }};
}
}  // namespace optp
