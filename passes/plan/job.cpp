#include "passes/plan/job.h"

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {

llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> dims) {
  DimValues out;
  for (const std::string& text : dims) {
    auto [name, number] = llvm::StringRef(text).rsplit('=');  // a name may hold one too
    int64_t n = 0;
    if (name.empty() || number.getAsInteger(10, n) || n < 0)
      return error(Fault::usage, "--dim " + quoted(text) + ": expected NAME=NUMBER");
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
    const std::string place = path.str() + ":" + std::to_string(k + 1);
    const size_t gap = line.find_first_of(" \t=");
    llvm::StringRef pattern = line.take_front(gap),
                    wish = gap == llvm::StringRef::npos ? llvm::StringRef() : line.drop_front(gap).ltrim(" \t=");
    if (pattern.empty() || wish.empty())
      return error(Fault::usage, place + ": expected PATTERN SHARDING, found " + quoted(line));
    pattern.consume_front("op:");
    out.push_back({pattern.str(), wish.str(), place});
  }
  return out;
}

std::vector<Stage> stages(bool training) {
  std::vector<Stage> out;
  for (const Pass& p : canonical_passes()) out.push_back({p.name, p.summary});
  out.push_back({"annotate", "every value gets a sharding and its cause"});
  if (training) out.push_back({"training", "loss, gradients and the optimizer's step; the forward's shardings stay"});
  out.push_back({"split", "local shapes, and collectives where data must travel"});
  out.push_back({"materialise", "one graph a rank: every extent a number or a named dim"});
  return out;
}

namespace {
TrainingOptions training_of(const JobOptions& o) {
  TrainingOptions out = o.training;
  if (!out.learning_rate) out.learning_rate = default_learning_rate(out.optimizer.name);
  if (o.betas.size() == 2) out.optimizer.beta1 = o.betas[0], out.optimizer.beta2 = o.betas[1];
  return out;
}

// Shows graphs between stages, and knows where to stop.
class Watch {
 public:
  explicit Watch(const JobOptions& o) : o_(o), stages_(stages(o.train)) {}
  llvm::Error begin() {
    std::vector<std::string> asked = o_.print_before;
    asked.insert(asked.end(), o_.print_after.begin(), o_.print_after.end());
    if (!o_.stop_after.empty()) asked.push_back(o_.stop_after);
    for (const std::string& name : asked) {
      if (llvm::any_of(stages_, [&](const Stage& s) { return s.name == name; })) continue;
      std::string known;
      for (const Stage& s : stages_) known += (known.empty() ? "" : ", ") + s.name;
      return error(Fault::usage, "no pass is named " + quoted(name) + "; there are " + known);
    }
    if (o_.dump_dir.empty()) return llvm::Error::success();
    auto out = OutputTransaction::begin(o_.dump_dir);
    if (!out) return out.takeError();
    dumps_.emplace(std::move(*out));
    return llvm::Error::success();
  }
  void before(llvm::StringRef stage, const Graph& graph) {
    if (llvm::is_contained(o_.print_before, stage)) show("before " + stage.str(), graph);
  }
  // Of materialise once for each rank.
  llvm::Error after(llvm::StringRef stage, const Graph& graph, std::optional<int64_t> rank = std::nullopt) {
    const std::string of = rank ? " of rank " + std::to_string(*rank) : "";
    if (llvm::is_contained(o_.print_after, stage)) show("after " + stage.str() + of, graph);
    if (dumps_) {
      const auto at = llvm::find_if(stages_, [&](const Stage& s) { return s.name == stage; }) - stages_.begin();
      const std::string name = (at < 9 ? "0" : "") + std::to_string(at + 1) + "-" + stage.str() +
                               (rank ? "-" + std::to_string(*rank) : "") + ".ir";
      std::string text;
      llvm::raw_string_ostream stream(text);
      print(stream, graph);
      auto file = dumps_->create(name);
      if (!file) return file.takeError();
      if (auto e = (*file)->write(llvm::StringRef(text))) return e;
      if (auto e = (*file)->finish()) return e;
    }
    return llvm::Error::success();
  }
  bool stops(llvm::StringRef stage) const { return o_.stop_after == stage; }
  llvm::Error end() { return dumps_ ? dumps_->commit() : llvm::Error::success(); }

 private:
  void show(const std::string& when, const Graph& graph) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    stream << "# " << when << "\n";
    print(stream, graph);
    if (o_.show) o_.show(text);
  }
  const JobOptions& o_;
  std::vector<Stage> stages_;
  std::optional<OutputTransaction> dumps_;
};

llvm::Error run_stages(const JobOptions& o, Job& job, Watch& watch) {
  const int64_t total = int64_t(stages(o.train).size()) - 1 + job.whole->mesh.devices();
  int64_t done = 0;
  auto advance = [&] {
    ++done;
    if (o.progress) o.progress("planning", done, total);
  };
  if (o.progress) o.progress("planning", 0, total);
  for (const Pass& pass : canonical_passes()) {
    watch.before(pass.name, *job.whole);
    if (auto e = run_pass(pass, *job.whole, job.passes)) return e;
    if (auto e = watch.after(pass.name, *job.whole)) return e;
    advance();
    if (watch.stops(pass.name)) return llvm::Error::success();
  }
  watch.before("annotate", *job.whole);
  if (auto e = annotate(*job.whole, job.passes)) return e;
  if (auto e = watch.after("annotate", *job.whole)) return e;
  advance();
  if (watch.stops("annotate")) return llvm::Error::success();
  if (o.train) {
    watch.before("training", *job.whole);
    const TrainingOptions& training = job.training = training_of(o);
    job.inference = job.whole->clone();
    if (auto e = make_training_step(*job.whole, job.passes, training)) return e;
    if (auto e = watch.after("training", *job.whole)) return e;
    advance();
    if (watch.stops("training")) return llvm::Error::success();
  }
  watch.before("split", *job.whole);
  auto spmd = split(*job.whole, job.passes);
  if (!spmd) return spmd.takeError();
  job.spmd = std::move(*spmd);
  if (auto e = watch.after("split", *job.spmd)) return e;
  advance();
  if (watch.stops("split")) return llvm::Error::success();
  watch.before("materialise", *job.spmd);
  for (int64_t r = 0; r < job.whole->mesh.devices(); ++r) {
    auto rank = materialise(*job.spmd, r);
    if (!rank) return rank.takeError();
    job.ranks.push_back(std::move(*rank));
    if (auto e = watch.after("materialise", *job.ranks.back(), r)) return e;
    advance();
  }
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<Job> make_job(const JobOptions& o) {
  Job job;
  if (o.devices && (*o.devices < 1 || *o.devices > 4096))
    return error(Fault::usage, "--devices " + llvm::Twine(*o.devices) + ": expected from 1 to 4096");
  if (auto e = check_settings(training_of(o))) return e;
  auto mesh = parse_mesh(o.mesh.empty() ? std::to_string(o.devices.value_or(2)) : o.mesh);
  if (!mesh) return mesh.takeError();
  if (o.devices && mesh->devices() != *o.devices)
    return error(Fault::usage, "--devices " + llvm::Twine(*o.devices) + " and --mesh " + o.mesh +
                                   ": expected one number of devices, found " + llvm::Twine(mesh->devices()) +
                                   " in the mesh");
  job.passes.strategy = o.strategy;
  if (o.strategy != "megatron" && o.strategy != "origin")
    return error(Fault::usage, "--strategy " + quoted(o.strategy) + ": expected megatron or origin");
  if (o.outputs != "whole" && o.outputs != "sharded")
    return error(Fault::usage, "--outputs " + quoted(o.outputs) + ": expected whole or sharded");
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
  Watch watch(o);
  if (auto e = watch.begin()) return e;
  if (auto e = run_stages(o, job, watch)) return e;
  if (auto e = watch.end()) return e;
  if (!o.stop_after.empty() && job.ranks.empty()) return error(Fault::stopped, "stopped after " + o.stop_after);
  return job;
}
}  // namespace optp
