#include "tools/plan/plan_again.h"

#include "passes/cached_decoder.h"
#include "passes/plan/make_plan.h"
#include "passes/strategy.h"
#include "tools/cli/job_options.h"
#include "tools/run/activation_peak.h"

namespace optp {
namespace {
llvm::Expected<Plan> planned(JobOptions& job, const DimValues* at) {
  job.ranks.emplace();
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
  job.mesh = mesh, job.strategy = plan.strategy, job.sequence_parallel = plan.sequence_parallel;
  job.outputs = plan.outputs_as, job.compute = plan.compute == DType::undefined ? DType::f32 : plan.compute;
  const Plan::Request& request = plan.request;
  for (const Plan::RequestedConstraint& line : request.constraints)
    job.constraints.push_back({line.pattern, line.sharding,
                               line.flag.empty() ? file_place(line.file, line.line) : flag_place(line.flag),
                               line.of_operators, line.may_match_nothing});
  job.tie = request.tie, job.untie = request.untie, job.untied = request.untied;
  job.keep_shared = request.keep_shared, job.kv_cache = request.kv_cache;
  if (plan.training) job.training = *plan.training;
  job.training.trainable = request.trainable, job.training.freeze = request.freeze;
  return job;
}
}  // namespace

llvm::Expected<Plan> plan_of_model(const PlannedModel& o) {
  JobOptions job;
  job.model = o.model, job.devices = o.devices, job.dims = o.dims;
  return planned(job, /*at=*/nullptr);
}

llvm::Expected<Plan> plan_again(const Plan& plan, const std::string& model, const Mesh& mesh,
                                llvm::ArrayRef<Constraint> constraints) {
  JobOptions job = job_of(plan, model, mesh);
  job.constraints.insert(job.constraints.end(), constraints.begin(), constraints.end());
  job.train = plan.is_training();
  const DimValues dims = plan.examples();
  return planned(job, &dims);
}

llvm::Expected<Plan> decoder_again(const Plan& plan, const std::string& model, const Mesh& mesh) {
  JobOptions job = job_of(plan, model, mesh);
  job.kv_cache = Dim::symbol("capacity");
  job.ranks.emplace();
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
