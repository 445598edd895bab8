// Does the plan compute what the whole model does? A check's report as a table.
#include <cmath>

#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {

namespace {
std::string row_of(const Row& row) {
  auto cell = [](double x) {
    return std::isfinite(x) ? llvm::formatv("<td class=\"n\" data-v=\"{0:f20}\">{0:E2}</td>", x).str()
                            : std::string("<td class=\"n\">not finite</td>");
  };
  return "<tr><td>" + escaped(row.name) + "</td><td>" + (row.holds ? "holds" : "<b class=\"fails\">fails</b>") +
         "</td><td class=\"n\">" + grouped(row.values) + "</td><td class=\"n\">" + grouped(row.elements) + "</td>" +
         cell(row.error) + cell(row.tolerance) + cell(row.tolerance > 0 ? row.error / row.tolerance : INFINITY) +
         "<td class=\"text\">" + escaped(row.against) + (row.note.empty() ? "" : "; " + escaped(row.note)) +
         "</td></tr>\n";
}
}  // namespace

std::string parity(const CheckReport& report) {
  std::string dims;
  for (const auto& [name, value] : report.dims) dims += (dims.empty() ? "" : ", ") + name + " " + std::to_string(value);
  std::string out = "<p class=\"answer\"><b>" +
                    std::string(report.holds() ? "Every comparison holds" : "The check failed") + "</b>" +
                    (dims.empty() ? "" : " at " + escaped(dims)) + ".</p>";
  if (!report.holds()) out += "<p class=\"fails\">" + escaped(report.fault) + "</p>";
  std::string table = "<table class=\"sort\">" +
                      table_head({"comparison", "result", "#values", "#elements", "#largest error", "#allowed",
                                  "#error ÷ allowed", "compared with"}) +
                      "<tbody>";
  for (const Row& row : report.rows) table += row_of(row);
  return out + scrolling("Comparisons", table + "</tbody></table>") +
         "<p class=\"note\">Errors are |difference| ÷ largest magnitude; where 1 is allowed they are error ÷ derived "
         "bound.</p>";
}
}  // namespace optp::page
