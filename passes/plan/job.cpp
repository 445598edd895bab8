#include "passes/plan/job.h"

#include <cstdlib>
#include <mutex>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "frontend/io/input_folder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/model_file.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "passes/passes.h"
#include "passes/strategy.h"

namespace optp {

llvm::Error check_names(const Graph& graph, const DimValues& asked) {
  std::vector<std::string> known;
  for (Dim symbol : named_dims_of(graph)) known.push_back(name_of(symbol)->str());
  return check_asked_names("model", known, asked);
}

llvm::Expected<std::vector<Constraint>> read_constraints(llvm::StringRef path) {
  auto file = open_input_file(path, 1 << 20);
  if (!file) return file.takeError();
  std::vector<Constraint> out;
  llvm::SmallVector<llvm::StringRef> lines;
  (*file)->text().split(lines, '\n');
  for (size_t k = 0; k < lines.size(); ++k) {
    llvm::StringRef line = lines[k].split('#').first.trim();
    if (line.empty()) continue;
    const Place place = file_place(path, int64_t(k) + 1);
    const size_t gap = line.find_first_of(" \t=");
    llvm::StringRef pattern = line.take_front(gap),
                    sharding = gap == llvm::StringRef::npos ? llvm::StringRef() : line.drop_front(gap).ltrim(" \t=");
    if (pattern.empty() || sharding.empty())
      return error(Code::bad_value).at(place).expected("PATTERN SHARDING").found(quoted(line));
    const bool of_operators = consume_operator_prefix(pattern);
    out.push_back({pattern.str(), sharding.str(), place, of_operators});
  }
  return out;
}

TrainingOptions training_of(const JobOptions& o) {
  TrainingOptions out = o.training;
  if (!out.learning_rate) out.learning_rate = default_learning_rate(out.optimizer.name);
  if (o.betas.size() == 2) out.optimizer.beta1 = o.betas[0], out.optimizer.beta2 = o.betas[1];
  return out;
}

void let_go_of_compilation(Job& job) {
  job.imported.reset(), job.inference.reset(), job.spmd.reset();
  give_freed_memory_back();
}
void give_freed_memory_back() {
#ifdef __GLIBC__
  // Under another allocator, as a sanitizer's, this call sets glibc's own up, which two threads must not do at once.
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  malloc_trim(0);
#endif
}

namespace {
llvm::Expected<PassOptions> pass_options_of(const JobOptions& o) {
  PassOptions out;
  out.strategy = o.strategy;
  if (!find_strategy(o.strategy) || find_strategy(o.strategy)->axis)
    return error(Code::bad_value).flag("--strategy", quoted(o.strategy)).expected(strategy_names());
  out.outputs = o.outputs;
  out.tie_weights = !o.untied;
  out.tie = o.tie, out.untie = o.untie;
  out.trainable = o.training.trainable;
  out.keep_shared = o.keep_shared, out.sequence_parallel = o.sequence_parallel;
  out.kv_cache = o.kv_cache;
  out.compute = o.compute;
  out.last_logits = o.last_logits;
  if (!o.sharding_file.empty()) {
    auto constraints = read_constraints(o.sharding_file);
    if (!constraints) return constraints.takeError();
    out.constraints = std::move(*constraints);
  }
  if (!o.tp_plan.empty()) {
    auto constraints = read_tp_plan(o.tp_plan);
    if (!constraints) return constraints.takeError();
    out.constraints.insert(out.constraints.begin(), constraints->begin(), constraints->end());
  }
  out.constraints.insert(out.constraints.begin(), o.constraints.begin(), o.constraints.end());
  return out;
}
}  // namespace

llvm::Expected<Mesh> mesh_of(const JobOptions& o) {
  if (o.devices && (*o.devices < 1 || *o.devices > most_devices))
    return error(Code::bad_value).flag("--devices", *o.devices).expected("from 1 to " + llvm::Twine(most_devices));
  const Mesh mesh = o.mesh.value_or(Mesh{{{"tensor", o.devices.value_or(2)}}});
  if (o.devices && mesh.devices() != *o.devices)
    return error(Code::bad_value)
        .flag("--devices", llvm::Twine(*o.devices) + " and --mesh " + to_string(mesh))
        .expected("one number of devices")
        .found(llvm::Twine(mesh.devices()) + " in the mesh");
  return mesh;
}

llvm::Expected<size_t> devices_of(const JobOptions& o) {
  auto mesh = mesh_of(o);
  if (!mesh) return mesh.takeError();
  return size_t(mesh->devices());
}

llvm::Expected<Job> make_job(const JobOptions& o) {
  Job job;
  auto mesh = mesh_of(o);
  if (!mesh) return mesh.takeError();
  if (auto e = check_settings(training_of(o))) return e;
  if (o.compute == DType::f16 && o.train)
    return error(Code::bad_value)
        .flag("--compute", "'f16'")
        .what("not for a training step: gradients are smaller than float16's least number")
        .hint("--compute bf16");
  if (o.kv_cache && o.train) return error(Code::bad_value).flag("--kv-cache").what("a training step has no caches");
  auto passes = pass_options_of(o);
  if (!passes) return passes.takeError();
  job.passes = std::move(*passes);
  const auto over = llvm::make_scope_exit([&] {
    if (o.progress) o.progress("", 0, 0);
  });
  auto model = model_file(o.model);
  if (!model) return model.takeError();
  if (o.progress) o.progress("reading " + *model, 0, 0);
  auto imported = import_onnx(*model);
  if (!imported) return imported.takeError();
  job.imported = std::move(*imported);
  auto asked = asked_dims(*job.imported, o.dims);
  if (!asked) return asked.takeError();
  if (auto e = check_names(*job.imported, *asked)) return e;
  job.asked = std::move(*asked);
  job.imported->mesh = *mesh;
  job.whole = job.imported->clone();
  job.trains = o.train;
  job.wanted = o.ranks;
  if (job.wanted && !llvm::is_contained(*job.wanted, 0)) job.wanted->insert(job.wanted->begin(), 0);
  job.training = training_of(o);
  auto watch = Watch::create(o.watch, o.train);
  if (!watch) return watch.takeError();
  StageHooks hooks = watch->hooks();
  if (o.progress) hooks.progress = [&](int64_t done, int64_t total) { o.progress("planning", done, total); };
  if (auto e = run_pipeline(job, hooks)) return e;
  if (auto e = watch->end()) return e;
  if (job.decoder) job.imported = std::move(job.decoder);
  if (!o.watch.stop_after.empty() && o.watch.stop_after != pipeline().back().name)
    return error(Code::stopped).what("stopped after " + o.watch.stop_after);
  let_go_of_files();  // weights were compared, to tie those that are equal
  return job;
}

llvm::Expected<Job> retrain(const Job& job, const TrainingOptions& training) {
  if (auto e = check_settings(training)) return e;
  Job out;
  out.passes = job.passes;
  out.trains = true;
  out.wanted = job.wanted;
  out.training = training;
  out.imported = job.imported->clone(), out.asked = job.asked;
  out.whole = (job.inference ? job.inference : job.whole)->clone();
  if (auto e = run_pipeline(out, {}, "choose-trained")) return e;
  return out;
}
}  // namespace optp
