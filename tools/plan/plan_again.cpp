#include "tools/plan/plan_again.h"

#include "passes/cached_decoder.h"
#include "passes/plan/make_plan.h"
#include "passes/strategy.h"
#include "tools/cli/job_options.h"
#include "tools/run/activation_peak.h"

namespace optp {
namespace {
llvm::Expected<Plan> planned(JobOptions& job, const DimValues* at) {
  job.plan_only = true;
  report_progress(job);
  auto made = make_job(job);
  if (!made) return made.takeError();
  const DimValues dims = at ? *at : example_dims(*made->whole, made->asked);
  Plan out = make_plan(*made, dims, OPTP_VERSION, /*weights=*/false);
  if (auto e = add_activation_peaks(out, *made, dims, /*workspace=*/true)) return e;
  return out;
}
JobOptions job_of(const Plan& plan, const std::string& model, const Mesh& mesh) {
  JobOptions job;
  job.model = model.empty() ? plan.model.name : model;
  for (const MeshAxis& a : mesh.axes) job.mesh += (job.mesh.empty() ? "" : ",") + a.name + "=" + std::to_string(a.size);
  job.strategy = plan.strategy, job.sequence_parallel = plan.sequence_parallel,
  job.outputs = to_string(plan.outputs_as).str();
  if (plan.compute == DType::bf16) job.compute = "bf16";
  return job;
}
}  // namespace

llvm::Expected<Plan> plan_of_model(const PlannedModel& o) {
  JobOptions job;
  job.model = o.model, job.devices = o.devices, job.dims = o.dims, job.input_shapes = o.input_shapes;
  return planned(job, /*at=*/nullptr);
}

llvm::Expected<Plan> plan_again(const Plan& plan, const std::string& model, const Mesh& mesh,
                                std::vector<Constraint> constraints) {
  JobOptions job = job_of(plan, model, mesh);
  job.constraints = std::move(constraints);
  job.train = plan.is_training();
  if (plan.training) job.training = *plan.training;
  const DimValues dims = plan.examples();
  return planned(job, &dims);
}

llvm::Expected<Plan> decoder_again(const Plan& plan, const std::string& model, const Mesh& mesh) {
  JobOptions job = job_of(plan, model, mesh);
  job.kv_cache = Dim::symbol("capacity");
  job.plan_only = true;
  auto made = make_job(job);
  if (!made) return made.takeError();
  auto ids = ids_of(*made->whole);
  if (!ids) return ids.takeError();
  DimValues dims = plan.examples();
  dims["capacity"] = dims[name_of((*ids)->type.dims[1])->str()];
  return make_plan(*made, dims, OPTP_VERSION, /*weights=*/false);
}

Mesh with_devices(const Mesh& mesh, int64_t along_strategy) {
  Mesh out = mesh;
  const MeshAxis* cut = strategy_axis(mesh);
  for (MeshAxis& a : out.axes)
    if (cut && a.name == cut->name) a.size = along_strategy;
  return out;
}
}  // namespace optp
