#include "tools/plan/plan_at_dims.h"

#include <filesystem>

#include "frontend/ir/diagnostic.h"
#include "passes/plan/job.h"
#include "passes/plan/plan_parts.h"
#include "tools/run/activation_peak.h"
#include "tools/run/run.h"

namespace optp {
namespace {
llvm::Expected<DimValues> asked_of(const Plan& plan, const AskedDims& by_user) {
  auto asked = asked_dims(by_user, plan.inputs);
  if (!asked) return asked;
  std::vector<std::string> known;
  for (const auto& [name, info] : plan.dims)
    if (!info.equals) known.push_back(name);
  if (auto e = check_asked_names("plan", known, *asked)) return e;
  for (const auto& [name, extent] : *asked)
    if (const int64_t min = plan.dims.find(name)->second.min; extent < min)
      return error(Code::bad_value).flag("--dim", quoted(name)).expected("at least " + llvm::Twine(min)).found(extent);
  return asked;
}
void move_numbers(Plan& plan) {
  const DimValues dims = plan.examples();
  for (auto& [name, info] : plan.dims)
    if (info.equals) info.example = number_at(*info.equals, dims);
  for (Plan::CollectiveUse& c : plan.collectives)
    c.bytes = number_at(c.bytes_formula, dims), c.sent_bytes = number_at(c.sent_bytes_formula, dims);
  for (Plan::Device& d : plan.devices) d.flops = number_at(d.flops_formula, dims);
  Plan::Totals& t = plan.totals;
  t.flops = number_at(t.flops_formula, dims);
  t.collective_bytes = number_at(t.collective_bytes_formula, dims);
  t.sent_bytes = number_at(t.sent_bytes_formula, dims);
}
}  // namespace

llvm::Error plan_activations(Plan& plan, const std::string& folder) {
  std::vector<Plan::Device*> devices;
  for (Plan::Device& d : plan.devices) {
    if (d.arena_bytes) continue;  // made now, perhaps for another mesh than the folder's
    if (std::error_code ignored; std::filesystem::exists(folder + "/" + d.file, ignored)) devices.push_back(&d);
  }
  auto rank = [&](size_t k) -> llvm::Expected<std::shared_ptr<const Graph>> {
    auto graph = read_rank(folder + "/" + devices[k]->file);
    if (!graph) return graph.takeError();
    note_roles(**graph, plan);
    return std::move(*graph);
  };
  return add_activation_peaks(plan, devices, rank, plan.examples(), /*workspace=*/true);
}

llvm::Error move_to_dims(Plan& plan, const AskedDims& by_user, const std::string& folder) {
  auto asked = asked_of(plan, by_user);
  if (!asked) return asked.takeError();
  if (asked->empty()) return llvm::Error::success();
  for (const auto& [name, extent] : *asked) plan.dims[name].example = extent;
  move_numbers(plan);
  for (Plan::Device& d : plan.devices) {
    d.activation_peak_bytes.reset(), d.arena_bytes.reset();
    d.looked_up_bytes = d.program_bytes = 0;
  }
  return plan_activations(plan, folder);
}
}  // namespace optp
