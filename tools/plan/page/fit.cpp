// Whether each device's part fits into a given memory.
#include "tools/cli/progress.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
std::string fit(const Page& page, const Fit& fit) {
  std::string out = "<p><b>" + std::string(fit.fits() ? "Every device's part fits" : "Not every device's part fits") +
                    " into " + bytes(fit.limit_bytes) + "</b>, at " + escaped(examples_text(page.plan)) +
                    ". The fewest that do: " + escaped(smallest_text(fit)) + ".</p>";
  std::string table = "<table class=\"sort\">" +
                      table_head({"device", "#weights", "#gradients", "#optimizer state", "#activations",
                                  "#inputs and outputs", "#cache", "#program", "#together", "fits"}) +
                      "<tbody>";
  const auto cell = [](int64_t n) {
    return "<td class=\"n\" data-v=\"" + std::to_string(n) + "\">" + bytes(n) + "</td>";
  };
  for (const DeviceMemory& d : fit.devices)
    table += "<tr><td>" + device(d.rank) + "</td>" + cell(d.weight_bytes) + cell(d.gradient_bytes) +
             cell(d.state_bytes) +
             (d.activation_bytes ? cell(*d.activation_bytes) : std::string("<td class=\"n\">unknown</td>")) +
             cell(d.port_bytes) + cell(d.cache_bytes) + cell(d.program_bytes) + cell(d.total_bytes()) +
             (fit.fits(d) ? "<td>yes</td></tr>\n" : "<td class=\"fails\">no</td></tr>\n");
  return out + scrolling("Does it fit", table + "</tbody></table>") +
         "<p class=\"note\">Activations are what this runtime plans for values between operations and for the "
         "workspace of this machine's kernels, the program what the graph and its steps take themselves. The rest "
         "follows from shapes. " +
         escaped(file_text(fit)) + (file_text(fit).empty() ? "" : ".") +
         (cache_text(fit).empty() ? "" : " About the cache: " + escaped(cache_text(fit)) + ".") + "</p>";
}
}  // namespace optp::page
