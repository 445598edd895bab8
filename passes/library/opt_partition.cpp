#include "passes/library/opt_partition.h"

#include <sys/stat.h>

#include "frontend/io/files.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/model_file.h"
#include "passes/plan/job.h"
#include "passes/plan/make_plan.h"
#include "passes/plan/plan_json.h"
#include "passes/plan/write_partition.h"

namespace opt_partition {
namespace {
[[noreturn]] void raise(llvm::Error error) {
  optp::Code code = optp::Code::bug;
  optp::Parts parts;
  std::string message;  // of several errors the first decides, as in the program
  llvm::handleAllErrors(std::move(error), [&](const llvm::ErrorInfoBase& one) {
    if (one.isA<optp::Diagnostic>() && message.empty()) {
      const auto& first = static_cast<const optp::Diagnostic&>(one);
      code = first.code(), parts = first.parts();
    }
    message += (message.empty() ? "" : "\n") + one.message();
  });
  const optp::ErrorCode& row = optp::row_of(code);
  throw Error(row.name, int(row.fault), message,
              {.file = parts.file,
               .line = parts.line,
               .node = parts.node,
               .op = parts.op,
               .tensor = parts.tensor,
               .dim = parts.dim,
               .expected = parts.expected,
               .found = parts.found,
               .suggestion = parts.suggestion,
               .hint = parts.hint,
               .module = parts.module,
               .model_name = parts.model_name});
}
Tensor tensor(const std::string& name, const optp::Type& type) {
  Tensor out{name, optp::long_name(type.dtype).str(), {}};
  for (optp::Dim d : type.dims) out.dims.emplace_back(d.text());
  return out;
}
}  // namespace

Model read_model(const std::string& path) {
  auto file = optp::model_file(path);
  if (!file) raise(file.takeError());
  auto graph = optp::import_onnx(*file);
  if (!graph) raise(graph.takeError());
  Model out;
  for (const optp::Value* v : (*graph)->inputs) out.inputs.push_back(tensor(v->name, v->type));
  for (const optp::GraphOutput& o : (*graph)->outputs) out.outputs.push_back(tensor(o.name, o.value->type));
  return out;
}

namespace {
struct Planned {
  optp::Job job;
  optp::Plan plan;
};
std::optional<optp::Mesh> mesh_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  auto mesh = optp::parse_mesh(text);
  if (!mesh) raise(mesh.takeError());
  return std::move(*mesh);
}
// `weights`: they are to be written, if they are there.
Planned planned(const PlanOptions& o, bool plan_only, bool weights) {
  optp::JobOptions options;
  if (plan_only) options.ranks.emplace();
  options.model = o.model, options.mesh = mesh_of(o.mesh), options.strategy = o.strategy,
  options.sharding_file = o.sharding_file, options.train = o.train;
  if (o.sharded_outputs) options.outputs = optp::OutputLayout::sharded;
  options.dims.values.insert(o.dims.begin(), o.dims.end());
  auto job = optp::make_job(options);
  if (!job) raise(job.takeError());
  optp::Plan plan = optp::make_plan(*job, optp::example_dims(*job->whole, job->asked), OPTP_VERSION,
                                    weights && !optp::weights_missing(*job->whole));
  return {std::move(*job), std::move(plan)};
}
}  // namespace

std::string make_plan(const PlanOptions& o) {
  return to_text(planned(o, /*plan_only=*/true, /*weights=*/false).plan);  // none are written
}

std::string write_partition(const PlanOptions& o, const WriteOptions& to) {
  const Planned made = planned(o, /*plan_only=*/false, to.weights);
  optp::OutputOptions writing{.overwrite = to.overwrite};
  for (const std::string& input : {made.job.imported->source, o.sharding_file})
    if (struct stat status; stat(input.c_str(), &status) == 0) writing.inputs.push_back(optp::id_of(status));
  auto out = optp::OutputTransaction::begin(to.folder, writing);
  if (!out) raise(out.takeError());
  if (auto e = optp::write_partition(made.job, made.plan, *out)) raise(std::move(e));
  if (auto e = out->commit()) raise(std::move(e));
  return to_text(made.plan);
}

std::string version() { return OPTP_VERSION; }
}  // namespace opt_partition
