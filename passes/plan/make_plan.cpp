#include "passes/plan/make_plan.h"

#include "frontend/ir/op.h"
#include "llvm/Support/Path.h"
#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
void add_dims(Plan& plan, const Graph& whole, const DimValues& examples) {
  for (const auto& [name, value] : examples) plan.dims[name] = {1, value, std::nullopt};
  for (Dim symbol : named_dims_of(whole))
    if (const auto info = plan.dims.find(name_of(symbol)->str()); info != plan.dims.end())
      info->second.min = *lower_bound(symbol);
  for (const Guard& g : whole.guards) plan.guards.push_back({g.left, g.right, to_string(g.at)});
  for (const Guard& g : whole.guards)
    if (const auto names = symbols_of(g.left); names.size() == 1 && !plan.dims.contains(names[0]))
      plan.dims[names[0]] = {0, number_at(g.right, examples), g.right};
}
void add_devices(Plan& plan) {
  for (int64_t r = 0; r < plan.mesh.devices(); ++r) {
    Plan::Device& d = plan.devices.emplace_back();
    d.rank = r;
    for (const MeshAxis& a : plan.mesh.axes) d.coordinates[a.name] = plan.mesh.coordinate(a.name, r);
    d.file = "rank" + std::to_string(r) + "/model.onnx";
  }
}
void add_values(Plan& plan, const Graph& whole) {
  for (const auto& node : whole.nodes)
    for (const auto& v : node->results) {
      Plan::Value& out = plan.values.emplace_back();
      out.name = v->name, out.dtype = v->type.dtype, out.dims = v->type.dims;
      out.sharding = *v->sharding, out.cause = v->cause, out.phase = node->phase;
      out.module = node->module.name, out.node = node->name;
    }
}
void add_remarks(Plan& plan, const Graph& whole) {
  for (const Remark& remark : whole.remarks) plan.remarks.push_back({remark, "", ""});
  for (const auto& node : whole.nodes)
    if (!node->op->rule && plan.mesh.devices() > 1)
      plan.remarks.push_back(
          {{"annotate", describe(*node) + " has no sharding rule: it runs whole on every device"}, "", node->name});
}
}  // namespace

int64_t number_at(Dim formula, const DimValues& examples) {
  auto n = evaluate(formula, examples);
  if (n) return *n;
  llvm::consumeError(n.takeError());
  return 0;
}

bool weights_missing(const Graph& graph) {
  return llvm::any_of(graph.data(), [](const Value* v) { return v->data->is_missing(); });
}

namespace {
// Names grow until the extent is one that a run can have: a signal has at least a convolution's window of samples.
void grow_for(Dim extent, const DimValues& asked, DimValues& examples) {
  const int64_t least = lower_bound(extent).value_or(-1), wanted = least < 0 ? 1 : least;
  constexpr int64_t most = 1 << 20;
  for (const std::string& s : symbols_of(extent))
    while (!asked.contains(s) && examples[s] < most) {
      const int64_t before = number_at(extent, examples), size = examples[s];
      if (before >= wanted) return;
      examples[s] = std::max<int64_t>(1, 2 * size);
      if (number_at(extent, examples) >= before) continue;
      examples[s] = size;
      break;
    }
}
// A model with positions for fewer is shown at what it can take.
void fit_to_tables(const Graph& graph, const DimValues& asked, DimValues& dims) {
  for (const auto& node : graph.nodes) {
    const auto extent =
        node->op->is(Trait::cuts) ? node->operand(0).type.dims[size_t(node->integer("axis"))].constant() : std::nullopt;
    if (!extent) continue;
    const Dim start = node->dim("start"),
              end = start + (node->dim("size") - Dim(1)) * Dim(node->integer("step", 1)) + Dim(1);
    for (Dim d : {start, end})
      for (const std::string& s : symbols_of(d))
        while (!asked.contains(s) && dims[s] > 1 && (number_at(start, dims) < 0 || number_at(end, dims) > *extent))
          dims[s] /= 2;
  }
}
// The sequence is the second dim of the ids.
bool is_sequence(const Value& input, size_t d) { return d == 1 && !is_float(input.type.dtype); }
}  // namespace

DimValues example_dims(const Graph& graph, const DimValues& asked) {
  DimValues out = asked;
  for (const Value* v : graph.inputs)
    for (size_t d = 0; d < v->ndim(); ++d)
      for (Dim symbol : named_dims_of(v->type.dims[d]))
        // Whatever else is open counts once.
        if (const std::string s = name_of(symbol)->str(); !out.contains(s))
          out[s] = is_sequence(*v, d) ? 128 : *lower_bound(symbol);
  fit_to_tables(graph, asked, out);
  for (const auto& node : graph.nodes)
    for (const auto& result : node->results)
      for (Dim d : result->type.dims) grow_for(d, asked, out);
  return out;
}

DimValues usual_dims(const Graph& graph, const DimValues& asked, int64_t batch, int64_t sequence) {
  DimValues out;
  for (const Value* v : graph.inputs)
    for (size_t d = 0; d < std::min<size_t>(2, v->ndim()); ++d) {
      const Dim extent = v->type.dims[d];
      const auto named = named_dims_of(extent);
      if (named.size() != 1 || named[0] != extent) continue;
      const std::string name = name_of(extent)->str();
      if (is_sequence(*v, d))
        out.try_emplace(name, sequence);
      else if (d == 0 && ((v->ndim() == 2 && !is_float(v->type.dtype)) || llvm::StringRef(name).contains("batch")))
        out.try_emplace(name, batch);
    }
  DimValues fixed = asked;
  fixed.insert(out.begin(), out.end());  // but for what is asked
  DimValues all = example_dims(graph, fixed);
  fit_to_tables(graph, asked, all);
  for (auto& [name, extent] : out) extent = all[name];
  return out;
}

namespace {
Plan::Request request_of(const Job& job) {
  Plan::Request out;
  for (const Constraint& c : job.passes.constraints) {
    Plan::RequestedConstraint& line = out.constraints.emplace_back();
    line.pattern = c.pattern, line.sharding = c.sharding;
    (c.place.kind == Place::Kind::flag ? line.flag : line.file) = c.place.name;
    line.line = c.place.line;
    line.of_operators = c.of_operators, line.may_match_nothing = c.may_match_nothing;
  }
  out.tie = job.passes.tie, out.untie = job.passes.untie;
  out.trainable = job.passes.trainable;
  if (job.trains) out.freeze = job.training.freeze;
  out.untied = !job.passes.tie_weights, out.keep_shared = job.passes.keep_shared;
  out.kv_cache = job.passes.kv_cache;
  return out;
}
}  // namespace

Plan make_plan(const Job& job, const DimValues& examples, llvm::StringRef version, bool weights) {
  const Graph& whole = *job.whole;
  Plan plan;
  plan.tool = version.str();
  plan.model = {llvm::sys::path::filename(whole.source).str(), whole.name};
  plan.job = whole.updates.empty() ? Plan::Job::inference : Plan::Job::training;
  plan.strategy = job.passes.strategy, plan.sequence_parallel = job.passes.sequence_parallel,
  plan.outputs_as = job.passes.outputs;
  if (job.passes.compute != DType::f32) plan.compute = job.passes.compute;
  plan.mesh = whole.mesh, plan.weights = weights;
  if (plan.is_training()) plan.training = job.training;
  plan.request = request_of(job);
  Layouts layouts(plan.mesh);
  add_dims(plan, whole, examples);
  add_devices(plan);
  add_ports(plan, job, layouts);
  add_data(plan, whole, layouts);
  add_values(plan, whole);
  add_collectives(plan, job, examples);
  plan.flow = plan_flow(job);
  add_work(plan, job, examples);
  add_remarks(plan, whole);
  return plan;
}
}  // namespace optp
