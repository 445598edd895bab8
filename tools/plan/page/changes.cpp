// What differs from another plan.
#include <algorithm>

#include "tools/cli/progress.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
std::string words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return escaped(name);
}
std::string amount(int64_t n, PlanDiff::Unit unit) {
  using Unit = PlanDiff::Unit;
  return unit == Unit::bytes ? bytes(n) : unit == Unit::flops ? gflop_text(n) + " Gflop" : grouped(n);
}
std::string pairs(llvm::ArrayRef<PlanDiff::Pair> all) {
  std::string out;
  for (const PlanDiff::Pair& p : all)
    if (p.a != p.b)
      out += "<tr><td>" + words(p.what) + "</td><td class=\"n\">" + amount(p.a, p.unit) + "</td><td class=\"n\">" +
             amount(p.b, p.unit) + "</td><td class=\"n\">" + (p.b < p.a ? "−" : "+") +
             amount(std::abs(p.b - p.a), p.unit) + "</td></tr>\n";
  return out;
}
std::string changes_table(const Page& page, llvm::StringRef label, llvm::ArrayRef<PlanDiff::Change> all) {
  std::string out = "<table class=\"sort\">" + table_head({"name", "was", "is"}) + "<tbody>";
  for (const PlanDiff::Change& c : all)
    out += "<tr><td class=\"name\">" + (page.tensors.count(c.name) ? link(c.name) : escaped(c.name)) +
           (c.model_name.empty() ? "" : "<br><small>" + escaped(c.model_name) + "</small>") + "</td><td>" +
           escaped(c.from) + "</td><td>" + escaped(c.to) + "</td></tr>\n";
  return scrolling(label, out + "</tbody></table>");
}
}  // namespace

std::string changes(const Page& page, const PlanDiff& diff, llvm::StringRef other) {
  if (diff.same()) return "<p class=\"answer\"><b>Nothing</b> differs from " + escaped(other) + ".</p>";
  std::string out = "<p class=\"answer\">From <b>" + escaped(other) +
                    "</b> to this plan: " + grouped(int64_t(diff.shardings.size())) +
                    " parameters are cut differently, " + grouped(int64_t(diff.moved.size())) +
                    " values are communicated differently.</p>";
  if (!diff.settings.empty()) out += changes_table(page, "Settings", diff.settings);
  std::string numbers = pairs(diff.numbers);
  for (size_t r = 0; r < diff.devices.size(); ++r)
    if (const std::string rows = pairs(diff.devices[r]); !rows.empty())
      numbers += "<tr class=\"sum\"><td colspan=\"4\">device " + std::to_string(r) + "</td></tr>\n" + rows;
  if (const std::string rows = pairs(diff.collectives); !rows.empty())
    numbers += "<tr class=\"sum\"><td colspan=\"4\">collectives</td></tr>\n" + rows;
  if (!numbers.empty())
    out += "<h3>Numbers</h3>" + scrolling("Numbers", "<table>" + table_head({"what", "#was", "#is", "#change"}) +
                                                         "<tbody>" + numbers + "</tbody></table>");
  if (!diff.shardings.empty())
    out += "<h3>Parameters cut differently</h3>" + changes_table(page, "Parameters cut differently", diff.shardings);
  if (!diff.moved.empty()) out += "<h3>Collectives</h3>" + changes_table(page, "Collectives", diff.moved);
  return out;
}
}  // namespace optp::page
