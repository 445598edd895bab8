#include "tools/job.h"

#include "frontend/io/input_folder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {

void add_job_options(CLI::App& command, JobOptions& o) {
  command.add_option("model", o.model, "ONNX file")->required();
  command.add_option("--devices", o.devices, "number of devices along the mesh axis 'tensor'");
  command.add_option("--mesh", o.mesh, "named axes instead, e.g. tensor=4");
  command.add_option("--strategy", o.strategy, "megatron or origin")->capture_default_str();
  command.add_option("--sharding", o.sharding_file, "file of constraints: PATTERN SHARDING, one a line");
  command.add_option("--outputs", o.outputs, "whole or sharded")->capture_default_str();
  command.add_option("--dim", o.dims, "NAME=NUMBER: an extent for sizes and runs (repeatable)");
  command.add_flag("--no-tie", o.untied, "keep equal tables and heads apart");
  command.add_flag("--keep-shared", o.keep_shared, "keep norms and biases that the exporter merged as one parameter");
}

void add_training_options(CLI::App& command, JobOptions& o) {
  TrainingOptions& t = o.training;
  command.add_option("--optimizer", t.optimizer.name, "sgd, adam, adamw or rmsprop, as torch.optim defines them")->capture_default_str();
  command.add_option("--lr", t.learning_rate, "learning rate; rmsprop's default is 0.01, the others' 0.001");
  command.add_option("--momentum", t.optimizer.momentum, "of sgd and rmsprop");
  command.add_flag("--nesterov", t.optimizer.nesterov, "sgd with Nesterov's momentum");
  command.add_option("--weight-decay", t.optimizer.weight_decay, "adamw's default is 0.01, the others' 0");
  command.add_option("--betas", o.betas, "of adam and adamw: B1,B2")->delimiter(',')->expected(2);
  command.add_option("--eps", t.optimizer.epsilon, "of adam, adamw and rmsprop");
  command.add_option("--alpha", t.optimizer.alpha, "smoothing of rmsprop");
  command.add_flag("--centered", t.optimizer.centered, "rmsprop by the variance of the gradient");
  command.add_option("--max-grad-norm", t.max_gradient_norm, "clip gradients to this global norm");
  command.add_option("--freeze", t.freeze, "PATTERN of parameters that are not trained (repeatable)");
  command.add_option("--trainable", t.trainable, "PATTERN: train these alone (repeatable)");
}

llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> dims) {
  DimValues out;
  for (const std::string& text : dims) {
    auto [name, number] = llvm::StringRef(text).split('=');
    int64_t n = 0;
    if (name.empty() || number.getAsInteger(10, n) || n < 0) return error(Fault::usage, "--dim " + quoted(text) + ": expected NAME=NUMBER");
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
    llvm::StringRef pattern = line.take_front(gap), wish = gap == llvm::StringRef::npos ? llvm::StringRef() : line.drop_front(gap).ltrim(" \t=");
    if (pattern.empty() || wish.empty()) return error(Fault::usage, place + ": expected PATTERN SHARDING, found " + quoted(line));
    pattern.consume_front("op:");
    out.push_back({pattern.str(), wish.str(), place});
  }
  return out;
}

llvm::Expected<Job> make_job(const JobOptions& o) {
  Job job;
  if (o.devices < 0 || o.devices > 4096) return error(Fault::usage, "--devices " + llvm::Twine(o.devices) + ": expected from 1 to 4096");
  auto mesh = parse_mesh(o.devices > 0 ? std::to_string(o.devices) : o.mesh);
  if (!mesh) return mesh.takeError();
  job.passes.strategy = o.strategy;
  if (o.strategy != "megatron" && o.strategy != "origin") return error(Fault::usage, "--strategy " + quoted(o.strategy) + ": expected megatron or origin");
  if (o.outputs != "whole" && o.outputs != "sharded") return error(Fault::usage, "--outputs " + quoted(o.outputs) + ": expected whole or sharded");
  job.passes.outputs = o.outputs == "whole" ? OutputLayout::whole : OutputLayout::sharded;
  job.passes.tie_weights = !o.untied;
  job.passes.keep_shared = o.keep_shared;
  if (!o.sharding_file.empty()) {
    auto constraints = read_constraints(o.sharding_file);
    if (!constraints) return constraints.takeError();
    job.passes.constraints = std::move(*constraints);
  }
  auto imported = import_onnx(o.model);
  if (!imported) return imported.takeError();
  job.imported = std::move(*imported);
  job.imported->mesh = *mesh;
  job.whole = job.imported->clone();
  if (auto e = canonicalise(*job.whole, job.passes)) return std::move(e);
  if (auto e = annotate(*job.whole, job.passes)) return std::move(e);
  if (o.train) {
    TrainingOptions& training = job.training = o.training;
    if (!training.learning_rate) training.learning_rate = default_learning_rate(training.optimizer.name);
    if (o.betas.size() == 2) training.optimizer.beta1 = o.betas[0], training.optimizer.beta2 = o.betas[1];
    job.inference = job.whole->clone();
    if (auto e = make_training_step(*job.whole, job.passes, training)) return std::move(e);
  }
  auto spmd = split(*job.whole, job.passes);
  if (!spmd) return spmd.takeError();
  job.spmd = std::move(*spmd);
  for (int64_t r = 0; r < mesh->devices(); ++r) {
    auto rank = materialise(*job.spmd, r);
    if (!rank) return rank.takeError();
    job.ranks.push_back(std::move(*rank));
  }
  return job;
}
}  // namespace optp
