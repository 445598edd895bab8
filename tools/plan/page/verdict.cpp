// The top of the page: what was cut how, and the numbers that people ask for first.
#include <algorithm>

#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr int64_t most_drawn = 64;                                 // devices of a mesh
constexpr double assumed_flops = 100e9, assumed_bandwidth = 10e9;  // a second

// The last axis runs across, the others down.
std::string mesh_drawing(const Page& page) {
  const std::vector<MeshAxis>& axes = page.plan.mesh.axes;
  std::string label, out;
  for (const MeshAxis& a : axes) label += (label.empty() ? "" : " × ") + a.name + " = " + std::to_string(a.size);
  const int64_t across = axes.empty() ? 1 : axes.back().size;
  out = "<figure class=\"mesh\"><figcaption>mesh <b>" + escaped(label) + "</b></figcaption>";
  for (int64_t row = 0; row * across < std::min(page.devices, most_drawn); ++row) {
    out += "<div>";
    if (axes.size() > 1) {
      std::string where;
      int64_t rest = row;
      for (size_t k = axes.size() - 1; k-- > 0;) {
        where = axes[k].name + " " + std::to_string(rest % axes[k].size) + (where.empty() ? "" : ", ") + where;
        rest /= axes[k].size;
      }
      out += "<span>" + escaped(where) + "</span> ";
    }
    for (int64_t k = 0; k < across && row * across + k < most_drawn; ++k) out += device(row * across + k);
    out += "</div>";
  }
  if (page.devices > most_drawn) out += "<div>… " + grouped(page.devices) + " devices</div>";
  return out + "</figure>";
}
std::string figure(llvm::StringRef title, llvm::StringRef value, llvm::StringRef how) {
  return "<div class=\"figure\"><dt>" + title.str() + "</dt><dd><b>" + value.str() + "</b><p>" + how.str() +
         "</p></dd></div>";
}
std::string lead(const Page& page) {
  const Plan& plan = page.plan;
  return "<header><p class=\"kicker\">partition plan</p><h1>" + escaped(plan.model.name) + "</h1><p class=\"lead\">" +
         grouped(plan.totals.parameter_elements) + " parameters, " + bytes(plan.totals.parameter_bytes) + ", for <b>" +
         grouped(page.devices) + (page.devices == 1 ? " device" : " devices") + "</b> by strategy <b>" +
         escaped(plan.strategy) + "</b>. " + (page.training ? "A training step" : "Inference") +
         (plan.training ? " with " + escaped(plan.training->optimizer.name) : "") + "; outputs " +
         to_string(plan.outputs_as).str() + (plan.weights ? "" : "; weights not written") + ".</p>" +
         mesh_drawing(page) + "</header>\n";
}
std::string parameters_figure(const Page& page) {
  int64_t most = -1, at = 0, all = 0;
  for (const Plan::Device& d : page.plan.devices) {
    if (d.parameter_bytes > most) most = d.parameter_bytes, at = d.rank;
    all += d.parameter_bytes;
  }
  const int64_t whole = page.plan.totals.parameter_bytes;
  return figure("Parameters on the fullest device", bytes(most),
                percent(double(most), double(whole)) + " of the whole model's " + bytes(whole) + ". Device " +
                    std::to_string(at) + (page.devices == 1 ? "." : "; <a href=\"#devices\">all devices</a>.") +
                    (all > whole ? " Together they hold " + bytes(all - whole) +
                                       " beyond one copy of each weight; <a href=\"#why\">which and why</a>."
                                 : ""));
}
// " at batch 1, sequence 128"
std::string at_examples(const Plan& plan) {
  const std::string examples = examples_text(plan);
  return examples.empty() ? "" : " at " + escaped(examples);
}
std::string moved_figure(const Page& page) {
  const Plan::Totals& t = page.plan.totals;
  const size_t n = page.plan.collectives.size();
  const Dim formula = t.collective_bytes_formula;
  return figure(page.training ? "Moved in a step" : "Moved in a forward pass", bytes(t.collective_bytes),
                grouped(int64_t(n)) + (n == 1 ? " collective" : " collectives") + at_examples(page.plan) +
                    (formula.constant() ? "" : ": <code>" + times(formula.text()) + "</code> bytes") +
                    (n ? "; a device sends " + bytes(t.sent_bytes) : "") + ". <a href=\"#collectives\">Each one</a>.");
}
std::string time_figure(const Page& page, const Trace* trace) {
  int64_t most_flops = 0;
  for (const Plan::Device& d : page.plan.devices) most_flops = std::max(most_flops, d.flops);
  const Plan::Totals& t = page.plan.totals;
  const double predicted = double(most_flops) / assumed_flops + double(t.collective_bytes) / assumed_bandwidth;
  const std::string assumption = seconds(predicted) + " predicted" + at_examples(page.plan) + ", from " +
                                 page::flops(double(most_flops)) + " on the busiest device (" +
                                 percent(double(most_flops), double(t.flops)) +
                                 " of the whole model's products) at an assumed 100&nbsp;GFLOP/s, and the bytes moved "
                                 "at 10&nbsp;GB/s: a core of a CPU. Scale it to your device.";
  if (!trace) return figure("Time, predicted", seconds(predicted), assumption);
  const Trace::Run& run = typical_run(*trace);
  return figure("Time, measured", seconds(run.duration_us() / 1e6),
                percent(share_in_collectives(run), 1) +
                    " of it in collectives; <a href=\"#timeline\">where it goes</a>. " + assumption);
}
std::string parity_figure(const CheckReport* check) {
  if (!check)
    return figure("Parity", "not checked",
                  "<code>opt-partition check MODEL --json FILE</code> compares this plan's parts with the whole model; "
                  "<code>inspect --html PAGE --check FILE</code> shows it here.");
  int64_t elements = 0;
  for (const Row& row : check->rows) elements += row.elements;
  return figure("Parity", check->holds() ? "holds" : "<span class=\"fails\">fails</span>",
                grouped(int64_t(check->rows.size())) + " comparisons of " + grouped(elements) +
                    " elements with the whole model; <a href=\"#parity\">each one</a>.");
}
}  // namespace

std::string verdict(const Page& page, const PageEvidence& evidence) {
  return lead(page) + "<dl class=\"figures\">" + parameters_figure(page) + moved_figure(page) +
         time_figure(page, evidence.trace) + parity_figure(evidence.check) + "</dl>\n";
}
}  // namespace optp::page
