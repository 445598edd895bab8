// Does the plan compute what the whole model does? A check's report as a table.
#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {

std::string parity(const Object& report) {
  const bool holds = report.getBoolean("holds").value_or(false);
  std::string dims;
  for (const auto& [name, value] : object(report, "dims"))
    dims += (dims.empty() ? "" : ", ") + name.str() + " " + extent_text(value);
  std::string out = "<p class=\"answer\"><b>" + std::string(holds ? "Every comparison holds" : "The check failed") +
                    "</b>" + (dims.empty() ? "" : " at " + escaped(dims)) + ".</p>";
  if (!holds) out += "<p class=\"fails\">" + escaped(text(report, "fault")) + "</p>";
  std::string table = "<table class=\"sort\">" +
                      table_head({"comparison", "result", "#values", "#elements", "#largest error", "#allowed",
                                  "#error ÷ allowed", "compared with"}) +
                      "<tbody>";
  for (const auto& entry : list(report, "comparisons")) {
    const Object& row = *entry.getAsObject();
    const auto error = row.getNumber("error");
    const double allowed = row.getNumber("allowed").value_or(0);
    const bool fine = row.getBoolean("holds").value_or(false);
    auto cell = [](std::optional<double> x) {
      return x ? llvm::formatv("<td class=\"n\" data-v=\"{0:f20}\">{0:E2}</td>", *x).str()
               : std::string("<td class=\"n\">not finite</td>");
    };
    table += "<tr><td>" + escaped(text(row, "name")) + "</td><td>" + (fine ? "holds" : "<b class=\"fails\">fails</b>") +
             "</td><td class=\"n\">" + grouped(number(row, "values")) + "</td><td class=\"n\">" +
             grouped(number(row, "elements")) + "</td>" + cell(error) + cell(allowed) +
             cell(error && allowed > 0 ? std::optional<double>(*error / allowed) : std::nullopt) +
             "<td class=\"text\">" + escaped(text(row, "against")) +
             (text(row, "note").empty() ? "" : "; " + escaped(text(row, "note"))) + "</td></tr>\n";
  }
  return out + scrolling("Comparisons", table + "</tbody></table>") +
         "<p class=\"note\">Errors are |difference| ÷ largest magnitude; where 1 is allowed they are error ÷ derived "
         "bound.</p>";
}
}  // namespace optp::page
