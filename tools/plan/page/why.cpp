// Why everything lies as it does: what is left whole and what that costs, and the causes that all shardings go back to.
#include <algorithm>

#include "llvm/ADT/STLExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
// What a weight takes over all devices beyond one copy.
int64_t extra(const Plan::Parameter& tensor) {
  int64_t held = 0;
  for (const Plan::RankShard& s : tensor.layout->shards)
    held += s.bytes.constant().value_or(0) * int64_t(s.ranks.size());
  return held - tensor.bytes;
}
std::string left_whole(const Page& page) {
  struct Row {
    const Kind* kind;
    int64_t extra;
  };
  std::vector<Row> rows;
  int64_t all = 0, all_extra = 0, count = 0;
  for (const Kind& k : page.kinds) {
    int64_t more = 0;
    for (const Plan::Parameter* t : k.tensors) more += extra(*t);
    if (!k.whole && more == 0) continue;
    rows.push_back({&k, more});
    all += k.bytes, all_extra += more, count += int64_t(k.tensors.size());
  }
  if (rows.empty()) return "<p>No weight is on two devices.</p>";
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.extra > b.extra; });
  std::string table = "<table class=\"sort\">" +
                      table_head({"weight", "#how many", "shape", "#bytes of all", "#more over all devices", "why"}) +
                      "<tbody>";
  for (const Row& r : rows) {
    const Plan::Parameter& t = *r.kind->tensors[0];
    table += "<tr><td class=\"name\">" + link(t.name, r.kind->name) + "</td><td class=\"n\">" +
             grouped(int64_t(r.kind->tensors.size())) + "</td><td>" + chip(t) + "</td><td class=\"n\" data-v=\"" +
             std::to_string(r.kind->bytes) + "\">" + bytes(r.kind->bytes) + "</td><td class=\"n\" data-v=\"" +
             std::to_string(r.extra) + "\">" + bytes(r.extra) + "</td><td class=\"text\">" + escaped(t.cause.text) +
             "</td></tr>\n";
  }
  table += "</tbody><tfoot><tr class=\"sum\"><td>together</td><td class=\"n\">" + grouped(count) +
           "</td><td></td><td class=\"n\">" + bytes(all) + "</td><td class=\"n\">" + bytes(all_extra) +
           "</td><td></td></tr></tfoot></table>";
  return "<p class=\"answer\"><b>" + grouped(count) + " weights of " + bytes(all) +
         " are on more than one device</b>; over all " + grouped(page.devices) + " devices their copies take " +
         bytes(all_extra) + " more than one of each, " +
         percent(double(all_extra), double(page.plan.totals.parameter_bytes)) + " of the model.</p>" +
         scrolling("Weights on more than one device", table);
}
std::string chain(const Page& page, const Plan::Tensor& tensor) {
  std::string out = link(tensor.name);
  std::vector<const Plan::Tensor*> seen{&tensor};
  for (size_t k = 0; k < 12; ++k) {
    const std::string& from = seen.back()->cause.from;
    const auto next = page.tensors.find(from);
    if (from.empty() || next == page.tensors.end() || llvm::is_contained(seen, next->second)) break;
    out += " ← " + link(from);
    seen.push_back(next->second);
  }
  return out;
}
struct CauseRow {
  const Plan::Tensor* example = nullptr;  // one that was derived, if there is one
  int64_t parameters = 0, bytes = 0, others = 0;
};
std::map<int64_t, CauseRow> rows_of(const Page& page) {
  std::map<int64_t, CauseRow> out;
  auto row = [&](const Plan::Tensor& t) -> CauseRow& {
    CauseRow& c = out[page.causes.at(cause_key(t))];
    if (!c.example || (c.example->cause.from.empty() && !t.cause.from.empty())) c.example = &t;
    return c;
  };
  for (const Plan::Parameter& p : page.plan.parameters) {
    CauseRow& c = row(p);
    ++c.parameters, c.bytes += p.bytes;
  }
  for (const Plan::Constant& c : page.plan.constants) ++row(c).others;
  for (const auto* ports : {&page.plan.inputs, &page.plan.outputs})
    for (const Plan::Port& p : *ports) ++row(p).others;
  for (const Plan::Value& v : page.plan.values) ++row(v).others;
  return out;
}
}  // namespace

std::string why(const Page& page) {
  std::string out = page.devices > 1 ? "<h3>Weights on more than one device</h3>" + left_whole(page) : "";
  out +=
      "<h3>Causes</h3><p>Every tensor's row <a href=\"#values\">below</a> links here and to the tensor that its "
      "sharding was propagated from; following these links ends at a seed (the strategy's), a constraint (yours) or a "
      "default (nothing asked for a cut).</p>";
  std::string table = "<table>" +
                      table_head({"#no.", "kind", "because", "#weights", "#their bytes", "#other tensors",
                                  "an example, and what it came from"}) +
                      "<tbody>";
  for (const auto& [k, c] : rows_of(page))
    table += "<tr id=\"why-" + std::to_string(k) + "\"><td class=\"n\">" + std::to_string(k) + "</td><td>" +
             escaped(to_string(c.example->cause.kind)) + "</td><td class=\"text\">" + escaped(c.example->cause.text) +
             "</td><td class=\"n\">" + grouped(c.parameters) + "</td><td class=\"n\">" + bytes(c.bytes) +
             "</td><td class=\"n\">" + grouped(c.others) + "</td><td class=\"name\">" + chain(page, *c.example) +
             "</td></tr>\n";
  out += scrolling("Causes", table + "</tbody></table>");
  if (const std::vector<Plan::Remark>& remarks = page.plan.remarks; !remarks.empty()) {
    out += "<h3>Remarks</h3><ul>";
    constexpr size_t most_remarks = 200;
    for (size_t k = 0; k < remarks.size() && k < most_remarks; ++k) out += "<li>" + escaped(remarks[k].text) + "</li>";
    if (remarks.size() > most_remarks)
      out += "<li>and " + grouped(int64_t(remarks.size() - most_remarks)) + " more in the plan below</li>";
    out += "</ul>";
  }
  return out;
}
}  // namespace optp::page
