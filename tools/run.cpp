// run: a partitioned model on given inputs. Reads only what partition wrote: plan.json and the rank graphs.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/passes.h"
#include "tools/command.h"
#include "tools/draw_weights.h"
#include "tools/execution.h"
#include "tools/inputs.h"
#include "tools/plan.h"

namespace optp {
namespace {
struct RunOptions {
  std::string folder, out, inputs_dir;
  std::vector<std::string> inputs, dims;
  int64_t threads = 0;
  std::string random_weights;
  bool no_verify = false;
};

llvm::Expected<Dim> extent(const llvm::json::Value& v) {
  if (auto n = v.getAsInteger()) return Dim(*n);
  if (auto s = v.getAsString()) return parse_dim(*s);
  return bad_input("plan.json: expected an extent");
}
llvm::Expected<int64_t> number(const llvm::json::Value& v, const DimValues& dims) {
  auto d = extent(v);
  if (!d) return d.takeError();
  return evaluate(*d, dims);
}
llvm::Expected<Dims> shape(const llvm::json::Array& list) {
  Dims out;
  for (const auto& v : list) {
    auto d = extent(v);
    if (!d) return d.takeError();
    out.push_back(*d);
  }
  return out;
}
// Section 9 of docs/plan-schema.md: intervals, or intervals repeated with a stride.
llvm::Expected<Indices> indices(const llvm::json::Array& ranges, const DimValues& dims) {
  Indices out;
  for (const auto& dim : ranges) {
    auto& list = out.emplace_back();
    if (!dim.getAsArray()) return bad_input("plan.json: expected ranges");
    for (const auto& interval : *dim.getAsArray()) {
      const auto* parts = interval.getAsArray();
      if (!parts || (parts->size() != 2 && parts->size() != 4)) return bad_input("plan.json: expected an interval of 2 or 4 numbers");
      int64_t n[4] = {0, 0, 1, 0};
      for (size_t k = 0; k < parts->size(); ++k) {
        auto v = number((*parts)[k], dims);
        if (!v) return v.takeError();
        n[k] = *v;
      }
      if (n[0] < 0 || n[1] < n[0] || n[2] < 0 || n[1] - n[0] > (int64_t(1) << 40)) return bad_input("plan.json: an interval out of range");
      for (int64_t i = 0; i < n[2]; ++i)
        for (int64_t j = n[0]; j < n[1]; ++j) list.push_back(i * n[3] + j);
    }
  }
  return out;
}

struct Port {
  std::string name;
  DType dtype;
  Dims dims;
  const llvm::json::Array* ranks;
  int64_t rows = 0;  // of the table that an input of ids indexes
};
llvm::Expected<std::vector<Port>> ports(const llvm::json::Object& plan, llvm::StringRef list, size_t devices) {
  std::vector<Port> out;
  const auto* entries = plan.getArray(list);
  if (!entries) return bad_input("plan.json: member " + quoted(list) + " is missing");
  for (const auto& entry : *entries) {
    const auto* o = entry.getAsObject();
    if (!o || !o->getString("name") || !o->getString("dtype") || !o->getArray("shape") || !o->getArray("ranks") || o->getArray("ranks")->size() != devices)
      return bad_input("plan.json: an entry of " + quoted(list) + " is malformed");
    auto dtype = dtype_from(*o->getString("dtype"));
    auto dims = shape(*o->getArray("shape"));
    if (!dims) return dims.takeError();
    if (!dtype) return bad_input("plan.json: dtype " + quoted(*o->getString("dtype")));
    out.push_back({o->getString("name")->str(), *dtype, *dims, o->getArray("ranks"), o->getInteger("rows").value_or(0)});
  }
  return out;
}
llvm::Expected<Indices> rank_indices(const Port& port, size_t rank, const DimValues& dims, llvm::ArrayRef<int64_t> whole) {
  const auto* o = (*port.ranks)[rank].getAsObject();
  if (!o || !o->getArray("ranges") || o->getArray("ranges")->size() != whole.size()) return bad_input("plan.json: ranges of " + quoted(port.name) + " are malformed");
  auto out = indices(*o->getArray("ranges"), dims);
  if (!out) return out.takeError();
  for (size_t d = 0; d < whole.size(); ++d)
    for (int64_t i : (*out)[d])
      if (i < 0 || i >= whole[d]) return bad_input("plan.json: ranges of " + quoted(port.name) + " reach beyond its shape");
  return out;
}

// Which part of which whole tensor a rank's initializer is.
llvm::Expected<Shard> shard_in(const llvm::json::Object& plan, llvm::StringRef name, size_t rank) {
  for (const char* list : {"parameters", "constants"})
    for (const auto& entry : plan.getArray(list) ? *plan.getArray(list) : llvm::json::Array()) {
      const auto* o = entry.getAsObject();
      if (!o || o->getString("name") != name) continue;
      const auto *global = o->getArray("shape"), *ranks = o->getArray("ranks");
      const auto* mine = ranks && rank < ranks->size() ? (*ranks)[rank].getAsObject() : nullptr;
      if (!global || !mine || !mine->getArray("ranges")) return bad_input("plan.json: the entry of " + quoted(name) + " is malformed");
      Shard out;
      for (const auto& n : *global) out.dims.push_back(n.getAsInteger().value_or(-1));
      auto at = indices(*mine->getArray("ranges"), {});
      if (!at) return at.takeError();
      out.indices = std::move(*at);
      bool inside = out.dims.size() == out.indices.size();
      for (size_t d = 0; inside && d < out.dims.size(); ++d)
        inside = llvm::all_of(out.indices[d], [&](int64_t i) { return i >= 0 && i < out.dims[d]; });
      if (!inside) return bad_input("plan.json: ranges of " + quoted(name) + " reach beyond its shape");
      return out;
    }
  return bad_input("plan.json: it lists no tensor " + quoted(name));
}

// All outputs or none: they lie in a hidden folder until the last is written.
llvm::Error write_outputs(const std::string& folder, llvm::ArrayRef<Port> ports, llvm::ArrayRef<HostArray> arrays) {
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
  std::vector<std::string> files;
  for (size_t k = 0; k < ports.size(); ++k) {
    std::string file = file_name_of(ports[k].name);
    while (llvm::is_contained(files, file)) file += "_";
    files.push_back(file);
    if (auto e = write_npy(hidden + "/" + file + ".npy", arrays[k])) return e;
    if (interrupting_signal()) return error(Fault::interrupted, folder + ": interrupted, nothing was written");
  }
  for (const std::string& file : files)
    if (rename((hidden + "/" + file + ".npy").c_str(), (folder + "/" + file + ".npy").c_str()) != 0) return failed(errno);
  for (size_t k = 0; k < ports.size(); ++k) {
    llvm::outs() << folder << "/" << files[k] << ".npy  " << long_name(ports[k].dtype) << " [";
    for (size_t d = 0; d < arrays[k].dims.size(); ++d) llvm::outs() << (d ? ", " : "") << arrays[k].dims[d];
    llvm::outs() << "]\n";
  }
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

  std::vector<std::unique_ptr<Graph>> graphs;
  PassOptions passes;
  for (int64_t r = 0; r < devices; ++r) {
    auto graph = import_onnx(o.folder + "/rank" + std::to_string(r) + "/model.onnx");
    if (!graph) return graph.takeError();
    if (auto e = absorb_transposes(**graph, passes)) return e;
    if (auto e = merge_views(**graph, passes)) return e;
    (*graph)->erase_dead();
    if (!o.random_weights.empty()) {
      auto seed = parse_seed(o.random_weights);
      if (!seed) return seed.takeError();
      if (auto e = draw_shards(**graph, *seed, [&](const Value& v) { return shard_in(top, v.name, size_t(r)); })) return e;
    }
    if (auto e = need_weights(**graph)) return e;
    graphs.push_back(std::move(*graph));
  }
  // Whole inputs are matched with the plan's global shapes.
  Graph global;
  for (const Port& p : *inputs) global.add_input(p.name, {p.dtype, p.dims});
  std::vector<InputSpec> specs;  // a rank graph knows of the rows it holds only; of all rows the plan
  for (const Port& p : *inputs) specs.push_back({p.name, long_name(p.dtype).str(), p.dims, p.rows});
  auto dims = parse_dims(o.dims);
  if (!dims) return dims.takeError();
  auto arrays = make_inputs(specs, o.inputs, o.inputs_dir, *dims, [&](const Shapes& shapes, DimValues values) { return bind_input_dims(global, shapes, std::move(values)); }, false);
  if (!arrays) return arrays.takeError();
  {
    Shapes shapes;
    for (const auto& [name, a] : *arrays) shapes[name].assign(a.dims.begin(), a.dims.end());
    auto bound = bind_input_dims(global, shapes, *dims);
    if (!bound) return bound.takeError();
    *dims = *bound;
  }
  std::vector<std::unique_ptr<Graph>> bound;
  std::vector<const Graph*> ranks;
  std::vector<HostArrays> rank_inputs;
  for (int64_t r = 0; r < devices; ++r) {
    auto g = bind_dims(*graphs[size_t(r)], *dims);
    if (!g) return with_prefix("to bind all extents give --dim NAME=NUMBER", g.takeError());
    bound.push_back(std::move(*g));
    ranks.push_back(bound.back().get());
    HostArrays mine;
    for (const Port& p : *inputs) {
      const HostArray& whole = (*arrays)[p.name];
      auto at = rank_indices(p, size_t(r), *dims, whole.dims);
      if (!at) return at.takeError();
      mine[p.name] = take(whole, *at);
    }
    rank_inputs.push_back(std::move(mine));
  }
  auto results = execute(ranks, rank_inputs, {.threads_per_device = o.threads});
  if (!results) return results.takeError();

  std::vector<HostArray> wholes;
  for (const Port& p : *outputs) {
    HostArray whole;
    whole.dtype = p.dtype;
    int64_t bytes = size_bytes(p.dtype);
    for (Dim d : p.dims) {
      auto n = evaluate(d, *dims);
      if (!n) return n.takeError();
      whole.dims.push_back(*n);
      bytes *= *n;
    }
    whole.bytes.assign(size_t(bytes), 0);
    for (int64_t r = 0; r < devices; ++r) {
      auto at = rank_indices(p, size_t(r), *dims, whole.dims);
      if (!at) return at.takeError();
      const HostArray& part = (*results)[size_t(r)][p.name];
      size_t n = 1;
      for (const auto& list : *at) n *= list.size();
      if (part.bytes.size() != n * size_t(size_bytes(p.dtype))) return bad_input("output " + quoted(p.name) + " of rank " + llvm::Twine(r) + " is not of the plan's shape");
      put(whole, part, *at);
    }
    wholes.push_back(std::move(whole));
  }
  return write_outputs(o.out, *outputs, wholes);
}
}  // namespace

Command add_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* c = app.add_subcommand("run", "run a partitioned model; outputs become .npy files");
  c->add_option("plan", o->folder, "folder written by partition")->required();
  c->add_option("--input", o->inputs, "NAME=@FILE (.npy, or .pb with an ONNX tensor), NAME=rand(SEED), NAME=ones, NAME=zeros (repeatable)");
  c->add_option("--inputs-dir", o->inputs_dir, "folder with NAME.npy or NAME.pb for every input");
  c->add_option("--dim", o->dims, "NAME=NUMBER (repeatable)");
  c->add_option("-o,--output", o->out, "folder for the outputs")->required();
  c->add_option("--threads-per-device", o->threads, "OpenMP threads of each device");
  c->add_flag("--no-verify", o->no_verify, "do not compare the files with the manifest's sizes and hashes");
  c->add_option("--random-weights", o->random_weights, "SEED: draw weights whose file is missing");
  return {c, [o] { return run(*o); }};
}
}  // namespace optp
