#include "passes/plan/job.h"

#include "frontend/io/input_folder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/ScopeExit.h"
#include "passes/strategy.h"

namespace optp {

llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> dims) {
  DimValues out;
  for (const std::string& text : dims) {
    auto [name, number] = llvm::StringRef(text).rsplit('=');  // a name may hold one too
    int64_t n = 0;
    if (name.empty() || number.getAsInteger(10, n) || n < 0)
      return error(Code::bad_value).flag("--dim", quoted(text)).expected("NAME=NUMBER");
    out[name.str()] = n;
  }
  return out;
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
    pattern.consume_front("op:");
    out.push_back({pattern.str(), sharding.str(), place});
  }
  return out;
}

TrainingOptions training_of(const JobOptions& o) {
  TrainingOptions out = o.training;
  if (!out.learning_rate) out.learning_rate = default_learning_rate(out.optimizer.name);
  if (o.betas.size() == 2) out.optimizer.beta1 = o.betas[0], out.optimizer.beta2 = o.betas[1];
  return out;
}

llvm::Expected<Job> make_job(const JobOptions& o) {
  Job job;
  if (o.devices && (*o.devices < 1 || *o.devices > 4096))
    return error(Code::bad_value).flag("--devices", *o.devices).expected("from 1 to 4096");
  if (auto e = check_settings(training_of(o))) return e;
  auto mesh = parse_mesh(o.mesh.empty() ? std::to_string(o.devices.value_or(2)) : o.mesh);
  if (!mesh) return mesh.takeError();
  if (o.devices && mesh->devices() != *o.devices)
    return error(Code::bad_value)
        .flag("--devices", llvm::Twine(*o.devices) + " and --mesh " + o.mesh)
        .expected("one number of devices")
        .found(llvm::Twine(mesh->devices()) + " in the mesh");
  job.passes.strategy = o.strategy;
  if (!find_strategy(o.strategy) || find_strategy(o.strategy)->axis)
    return error(Code::bad_value).flag("--strategy", quoted(o.strategy)).expected(strategy_names());
  if (o.outputs != "whole" && o.outputs != "sharded")
    return error(Code::bad_value).flag("--outputs", quoted(o.outputs)).expected("whole or sharded");
  job.passes.outputs = o.outputs == "whole" ? OutputLayout::whole : OutputLayout::sharded;
  job.passes.tie_weights = !o.untied;
  job.passes.tie = o.tie, job.passes.untie = o.untie;
  job.passes.trainable = o.training.trainable;
  job.passes.keep_shared = o.keep_shared;
  if (!o.sharding_file.empty()) {
    auto constraints = read_constraints(o.sharding_file);
    if (!constraints) return constraints.takeError();
    job.passes.constraints = std::move(*constraints);
  }
  job.passes.constraints.insert(job.passes.constraints.begin(), o.constraints.begin(), o.constraints.end());
  const auto over = llvm::make_scope_exit([&] {
    if (o.progress) o.progress("", 0, 0);
  });
  if (o.progress) o.progress("reading " + o.model, 0, 0);
  auto imported = import_onnx(o.model);
  if (!imported) return imported.takeError();
  job.imported = std::move(*imported);
  job.imported->mesh = *mesh;
  job.whole = job.imported->clone();
  job.trains = o.train;
  job.one_of_a_shape = o.plan_only;
  job.training = training_of(o);
  auto watch = Watch::create(o.watch, o.train);
  if (!watch) return watch.takeError();
  StageHooks hooks = watch->hooks();
  if (o.progress) hooks.progress = [&](int64_t done, int64_t total) { o.progress("planning", done, total); };
  if (auto e = run_pipeline(job, hooks)) return e;
  if (auto e = watch->end()) return e;
  if (!o.watch.stop_after.empty() && job.ranks.empty())
    return error(Code::stopped).what("stopped after " + o.watch.stop_after);
  return job;
}

llvm::Expected<Job> retrain(const Job& job, const TrainingOptions& training) {
  if (auto e = check_settings(training)) return e;
  Job out;
  out.passes = job.passes;
  out.trains = true;
  out.training = training;
  out.imported = job.imported->clone();
  out.whole = (job.inference ? job.inference : job.whole)->clone();
  if (auto e = run_pipeline(out, {}, "choose-trained")) return e;
  return out;
}
}  // namespace optp
