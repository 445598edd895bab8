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
  const Array& axes = list(object(page.plan, "mesh"), "axes");
  std::string label, out;
  for (const auto& a : axes)
    label += (label.empty() ? "" : " × ") + text(*a.getAsObject(), "name").str() + " = " +
             std::to_string(number(*a.getAsObject(), "size"));
  const int64_t across = axes.empty() ? 1 : std::max<int64_t>(1, number(*axes.back().getAsObject(), "size"));
  out = "<figure class=\"mesh\"><figcaption>mesh <b>" + escaped(label) + "</b></figcaption>";
  for (int64_t row = 0; row * across < std::min(page.devices, most_drawn); ++row) {
    out += "<div>";
    if (axes.size() > 1) {
      std::string where;
      int64_t rest = row;
      for (size_t k = axes.size() - 1; k-- > 0;) {
        const int64_t size = std::max<int64_t>(1, number(*axes[k].getAsObject(), "size"));
        where = text(*axes[k].getAsObject(), "name").str() + " " + std::to_string(rest % size) +
                (where.empty() ? "" : ", ") + where;
        rest /= size;
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
}  // namespace

std::string verdict(const Page& page, const PageEvidence& evidence) {
  const Object& plan = page.plan;
  const Object& totals = page.totals;
  int64_t most = -1, at = 0, all = 0, most_flops = 0;
  for (const auto& d : list(plan, "devices")) {
    const int64_t n = number(*d.getAsObject(), "parameter_bytes");
    if (n > most) most = n, at = number(*d.getAsObject(), "rank");
    most_flops = std::max(most_flops, number(*d.getAsObject(), "flops"));
    all += n;
  }
  std::string examples;
  for (const auto& [name, value] : object(plan, "dims"))
    if (const Object* dim = value.getAsObject(); dim && !dim->get("equals"))
      examples += (examples.empty() ? "" : ", ") + name.str() + " " + std::to_string(number(*dim, "example"));
  const std::string at_examples = examples.empty() ? "" : " at " + escaped(examples);
  const Array& collectives = list(plan, "collectives");
  const llvm::json::Value* formula = totals.get("collective_bytes_formula");
  const int64_t whole = number(totals, "parameter_bytes"), flops = number(totals, "flops");

  std::string out = "<header><p class=\"kicker\">partition plan</p><h1>" +
                    escaped(text(object(plan, "model"), "name")) + "</h1><p class=\"lead\">" +
                    grouped(number(totals, "parameter_elements")) + " parameters, " + bytes(whole) + ", for <b>" +
                    grouped(page.devices) + (page.devices == 1 ? " device" : " devices") + "</b> by strategy <b>" +
                    escaped(text(plan, "strategy")) + "</b>. " + (page.training ? "A training step" : "Inference") +
                    (page.training && !text(object(plan, "training"), "optimizer").empty()
                         ? " with " + escaped(text(object(plan, "training"), "optimizer"))
                         : "") +
                    "; outputs " + escaped(text(plan, "outputs_as")) +
                    (plan.getBoolean("weights").value_or(true) ? "" : "; weights not written") + ".</p>" +
                    mesh_drawing(page) + "</header>\n<dl class=\"figures\">";
  out += figure("Parameters on the fullest device", bytes(most),
                percent(double(most), double(whole)) + " of the whole model's " + bytes(whole) + ". Device " +
                    std::to_string(at) + (page.devices == 1 ? "." : "; <a href=\"#devices\">all devices</a>.") +
                    (all > whole ? " Together they hold " + bytes(all - whole) +
                                       " beyond one copy of each weight; <a href=\"#why\">which and why</a>."
                                 : ""));
  out += figure(
      page.training ? "Moved in a step" : "Moved in a forward pass", bytes(number(totals, "collective_bytes")),
      grouped(int64_t(collectives.size())) + (collectives.size() == 1 ? " collective" : " collectives") + at_examples +
          (formula && formula->getAsString() ? ": <code>" + times(*formula->getAsString()) + "</code> bytes" : "") +
          ". <a href=\"#collectives\">Each one</a>.");
  const double predicted =
      double(most_flops) / assumed_flops + double(number(totals, "collective_bytes")) / assumed_bandwidth;
  const std::string assumption = seconds(predicted) + " predicted" + at_examples + ", from " +
                                 page::flops(double(most_flops)) + " on the busiest device (" +
                                 percent(double(most_flops), double(flops)) +
                                 " of the whole model's products) at an assumed 100&nbsp;Gflop/s, and the bytes moved "
                                 "at 10&nbsp;GB/s: a core of a CPU. Scale it to your device.";
  if (evidence.trace) {
    const Trace::Run& run = typical_run(*evidence.trace);
    out += figure("Time, measured", seconds(run.duration_us() / 1e6),
                  percent(share_in_collectives(run), 1) +
                      " of it in collectives; <a href=\"#timeline\">where it goes</a>. " + assumption);
  } else {
    out += figure("Time, predicted", seconds(predicted), assumption);
  }
  if (evidence.check) {
    const bool holds = evidence.check->getBoolean("holds").value_or(false);
    const Array& rows = list(*evidence.check, "comparisons");
    int64_t elements = 0;
    for (const auto& row : rows) elements += number(*row.getAsObject(), "elements");
    out += figure("Parity", holds ? "holds" : "<span class=\"fails\">fails</span>",
                  grouped(int64_t(rows.size())) + " comparisons of " + grouped(elements) +
                      " elements with the whole model; <a href=\"#parity\">each one</a>.");
  } else {
    out += figure("Parity", "not checked",
                  "<code>opt-partition check MODEL --json FILE</code> compares this plan's parts with the whole model; "
                  "<code>inspect --html PAGE --check FILE</code> shows it here.");
  }
  return out + "</dl>\n";
}
}  // namespace optp::page
