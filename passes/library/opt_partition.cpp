#include "passes/library/opt_partition.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/import.h"
#include "passes/plan/job.h"
#include "passes/plan/make_plan.h"
#include "passes/plan/plan_json.h"

namespace opt_partition {
namespace {
[[noreturn]] void raise(llvm::Error error) {
  optp::Code code = optp::Code::bug;
  std::string message;  // of several errors the first decides, as in the program
  llvm::handleAllErrors(std::move(error), [&](const llvm::ErrorInfoBase& one) {
    if (one.isA<optp::Diagnostic>() && message.empty()) code = static_cast<const optp::Diagnostic&>(one).code();
    message += (message.empty() ? "" : "\n") + one.message();
  });
  const optp::ErrorCode& row = optp::row_of(code);
  throw Error(row.name, int(row.fault), message);
}
Tensor tensor(const std::string& name, const optp::Type& type) {
  Tensor out{name, optp::long_name(type.dtype).str(), {}};
  for (optp::Dim d : type.dims) out.dims.emplace_back(d.text());
  return out;
}
}  // namespace

Model read_model(const std::string& path) {
  auto graph = optp::import_onnx(path);
  if (!graph) raise(graph.takeError());
  Model out;
  for (const optp::Value* v : (*graph)->inputs) out.inputs.push_back(tensor(v->name, v->type));
  for (const optp::GraphOutput& o : (*graph)->outputs) out.outputs.push_back(tensor(o.name, o.value->type));
  return out;
}

std::string make_plan(const PlanOptions& o) {
  optp::JobOptions options;
  options.plan_only = true;
  options.model = o.model, options.mesh = o.mesh, options.strategy = o.strategy,
  options.sharding_file = o.sharding_file, options.train = o.train;
  if (o.sharded_outputs) options.outputs = "sharded";
  optp::DimValues dims;
  for (const auto& [name, extent] : o.dims) dims[name] = extent;
  auto job = optp::make_job(options);
  if (!job) raise(job.takeError());
  return to_text(optp::make_plan(*job, optp::example_dims(*job->whole, dims), OPTP_VERSION,
                                 /*weights=*/false));  // none are written
}

std::string version() { return OPTP_VERSION; }
}  // namespace opt_partition
