#include "tools/plan/plan_diff.h"

#include <algorithm>
#include <map>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/progress.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;

// Of each parameter, by name.
std::map<std::string, std::string> shardings_of(const Plan& plan, std::vector<std::string>& order) {
  std::map<std::string, std::string> out;
  for (const Plan::Parameter& p : plan.parameters) {
    out[p.name] = to_string(p.sharding);
    order.push_back(p.name);
  }
  return out;
}
// The values that meet, by name, and how.
std::map<std::string, std::string> uses_of(const Plan& plan, std::vector<std::string>& order) {
  std::map<std::string, std::string> out;
  for (const Plan::CollectiveUse& c : plan.collectives) {
    std::string& kinds = out[c.of];
    if (kinds.empty() && !llvm::is_contained(order, c.of)) order.push_back(c.of);
    kinds += (kinds.empty() ? "" : ", ") + to_string(c.call.kind).str();
  }
  return out;
}
std::vector<PlanDiff::Change> changes(const std::map<std::string, std::string>& a,
                                      const std::map<std::string, std::string>& b, llvm::ArrayRef<std::string> order) {
  std::vector<PlanDiff::Change> out;
  auto value = [](const auto& map, const std::string& name) {
    const auto it = map.find(name);
    return it == map.end() ? std::string("none") : it->second;
  };
  llvm::StringMap<bool> done;
  for (const std::string& name : order)
    if (done.try_emplace(name, true).second)
      if (const std::string from = value(a, name), to = value(b, name); from != to) out.push_back({name, from, to});
  return out;
}
std::string number_text(int64_t n, PlanDiff::Unit unit) {
  using Unit = PlanDiff::Unit;
  return unit == Unit::bytes   ? bytes_text(double(n))
         : unit == Unit::flops ? gflop_text(n) + " Gflop"
                               : std::to_string(n);
}
std::string signed_text(int64_t n, PlanDiff::Unit unit) { return (n < 0 ? "−" : "+") + number_text(std::abs(n), unit); }
void print_pairs(llvm::raw_ostream& out, llvm::ArrayRef<PlanDiff::Pair> pairs) {
  for (const PlanDiff::Pair& p : pairs)
    if (p.a != p.b)
      out << llvm::formatv("  {0,-22} {1} → {2}  ({3})\n", p.what, number_text(p.a, p.unit), number_text(p.b, p.unit),
                           signed_text(p.b - p.a, p.unit));
}
// Changes alike are one line.
void print_changes(llvm::raw_ostream& out, llvm::ArrayRef<PlanDiff::Change> changes) {
  std::vector<std::pair<const PlanDiff::Change*, size_t>> kinds;
  for (const PlanDiff::Change& c : changes) {
    auto it = llvm::find_if(kinds, [&](const auto& k) { return k.first->from == c.from && k.first->to == c.to; });
    if (it == kinds.end())
      kinds.push_back({&c, 1});
    else
      ++it->second;
  }
  for (const auto& [c, count] : kinds)
    out << llvm::formatv("  {0,4}× {1} → {2}  {3}{4}\n", count, c->from, c->to,
                         printable(c->model_name.empty() ? c->name : c->name + " (" + c->model_name + ")"),
                         count > 1 ? " and " + std::to_string(count - 1) + " more" : std::string());
}
llvm::json::Value pairs_json(llvm::ArrayRef<PlanDiff::Pair> pairs) {
  JsonObject out;
  for (const PlanDiff::Pair& p : pairs) out[p.what] = JsonArray{p.a, p.b};
  return out;
}
llvm::json::Value changes_json(llvm::ArrayRef<PlanDiff::Change> changes) {
  JsonArray out;
  for (const PlanDiff::Change& c : changes) {
    JsonObject change{{"name", c.name}, {"from", c.from}, {"to", c.to}};
    if (!c.model_name.empty()) change["model_name"] = c.model_name;
    out.push_back(std::move(change));
  }
  return out;
}
std::vector<PlanDiff::Pair> device_pairs(const Plan::Device& a, const Plan::Device& b) {
  constexpr PlanDiff::Unit bytes = PlanDiff::Unit::bytes;
  return {{"parameter_bytes", a.parameter_bytes, b.parameter_bytes, bytes},
          {"constant_bytes", a.constant_bytes, b.constant_bytes, bytes},
          {"state_bytes", a.state_bytes, b.state_bytes, bytes},
          {"gradient_bytes", a.gradient_bytes, b.gradient_bytes, bytes},
          {"activation_peak_bytes", a.activation_peak_bytes.value_or(0), b.activation_peak_bytes.value_or(0), bytes},
          {"flops", a.flops, b.flops, PlanDiff::Unit::flops}};
}
bool differ(llvm::ArrayRef<PlanDiff::Pair> pairs) {
  return llvm::any_of(pairs, [](const PlanDiff::Pair& p) { return p.a != p.b; });
}
}  // namespace

bool PlanDiff::same() const {
  return settings.empty() && shardings.empty() && moved.empty() && !differ(numbers) && !differ(collectives) &&
         llvm::none_of(devices, [](const auto& d) { return differ(d); });
}

PlanDiff diff_plans(const Plan& a, const Plan& b) {
  PlanDiff out;
  auto setting = [&](const char* name, const std::string& from, const std::string& to) {
    if (from != to) out.settings.push_back({name, from, to});
  };
  setting("job", to_string(a.job).str(), to_string(b.job).str());
  setting("strategy", a.strategy, b.strategy);
  setting("outputs_as", to_string(a.outputs_as).str(), to_string(b.outputs_as).str());
  setting("model name", a.model.name, b.model.name);
  setting("mesh", mesh_text(a.mesh), mesh_text(b.mesh));
  out.numbers.push_back({"devices", a.mesh.devices(), b.mesh.devices()});
  std::vector<std::string> names, uses;
  const auto from = shardings_of(a, names), to = shardings_of(b, names);
  out.shardings = changes(from, to, names);
  std::map<std::string, std::string> model_names;
  for (const Plan* plan : {&a, &b})
    for (const Plan::Parameter& p : plan->parameters) model_names[p.name] = p.model_name;
  for (PlanDiff::Change& c : out.shardings) c.model_name = model_names[c.name];
  const auto met = uses_of(a, uses), meet = uses_of(b, uses);
  out.moved = changes(met, meet, uses);
  for (size_t r = 0; r < std::min(a.devices.size(), b.devices.size()); ++r)
    out.devices.push_back(device_pairs(a.devices[r], b.devices[r]));
  for (const auto& [kind, n] : b.totals.collectives)
    out.collectives.push_back({to_string(kind).str(), a.totals.collectives.at(kind), n});
  llvm::sort(out.collectives, [](const auto& x, const auto& y) { return x.what < y.what; });
  out.collectives.push_back({"bytes", a.totals.collective_bytes, b.totals.collective_bytes, PlanDiff::Unit::bytes});
  out.collectives.push_back({"sent_bytes", a.totals.sent_bytes, b.totals.sent_bytes, PlanDiff::Unit::bytes});
  return out;
}

llvm::json::Value to_json(const PlanDiff& d) {
  JsonArray devices;
  for (size_t r = 0; r < d.devices.size(); ++r) {
    llvm::json::Value entry = pairs_json(d.devices[r]);
    (*entry.getAsObject())["rank"] = int64_t(r);
    devices.push_back(std::move(entry));
  }
  return JsonObject{{"same", d.same()},
                    {"settings", changes_json(d.settings)},
                    {"numbers", pairs_json(d.numbers)},
                    {"shardings", changes_json(d.shardings)},
                    {"devices", std::move(devices)},
                    {"collectives", pairs_json(d.collectives)},
                    {"moved", changes_json(d.moved)}};
}

std::string to_text(const PlanDiff& d) {
  std::string text;
  llvm::raw_string_ostream out(text);
  for (const PlanDiff::Change& c : d.settings)
    out << c.name << "  " << printable(c.from) << " → " << printable(c.to) << "\n";
  if (differ(d.numbers)) print_pairs(out, d.numbers);
  if (!d.shardings.empty()) {
    out << "parameters sharded differently: " << d.shardings.size() << "\n";
    print_changes(out, d.shardings);
  }
  for (size_t r = 0; r < d.devices.size(); ++r) {
    if (!differ(d.devices[r])) continue;
    size_t last = r;
    auto alike = [&](size_t other) {
      for (size_t k = 0; k < d.devices[r].size(); ++k)
        if (d.devices[other][k].a != d.devices[r][k].a || d.devices[other][k].b != d.devices[r][k].b) return false;
      return true;
    };
    while (last + 1 < d.devices.size() && alike(last + 1)) ++last;
    out << "device " << r << (last > r ? "–" + std::to_string(last) : std::string()) << "\n";
    print_pairs(out, d.devices[r]);
    r = last;
  }
  if (differ(d.collectives) || !d.moved.empty()) {
    out << "what is communicated\n";
    print_pairs(out, d.collectives);
    print_changes(out, d.moved);
  }
  return text;
}
}  // namespace optp
