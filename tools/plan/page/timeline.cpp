// Where a run's time went: the ranks' kernels and collectives on one scale, and sums by op.
#include <algorithm>
#include <cmath>

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr double width = 1080, lane = 26, left = 62;
constexpr size_t most_lanes = 16, most_named = 40;

enum Kind { product, collective, other, n_kinds };
constexpr const char* kind_names[] = {"products", "collectives, with waiting for the others", "other kernels"};
constexpr const char* kind_classes[] = {"k0", "k1", "k4"};
Kind kind_of(const StepTime& s) { return !s.collective.empty() ? collective : s.flops > 0 ? product : other; }
double end_of(const StepTime& s) { return s.start_us + s.duration_us; }

// Neighbours of one kind that are too thin to be seen apart are one shape; each kind of a lane is one path.
std::string lane_shapes(llvm::ArrayRef<StepTime> steps, double begin, double scale, double top) {
  std::string paths[n_kinds];
  constexpr double thin = 0.6;
  for (size_t k = 0; k < steps.size();) {
    const Kind kind = kind_of(steps[k]);
    const double from = (steps[k].start_us - begin) * scale;
    double to = (end_of(steps[k]) - begin) * scale;
    for (++k; k < steps.size() && kind_of(steps[k]) == kind && (steps[k].start_us - begin) * scale - to < thin &&
              (to - from < thin || steps[k].duration_us * scale < thin);
         ++k)
      to = (end_of(steps[k]) - begin) * scale;
    paths[kind] += llvm::formatv("M{0:f1} {1:f0}h{2:f1}v{3:f0}H{0:f1}z", left + from, top,
                                 std::max(to - from - 0.2, 0.2), lane - 6)
                       .str();
  }
  std::string out;
  for (int kind = 0; kind < n_kinds; ++kind)
    if (!paths[kind].empty())
      out += std::string("<path class=\"") + kind_classes[kind] + "\" d=\"" + paths[kind] + "\"/>";
  // The longest say what they are.
  std::vector<const StepTime*> longest;
  for (const StepTime& s : steps)
    if (s.duration_us * scale > 2) longest.push_back(&s);
  std::stable_sort(longest.begin(), longest.end(),
                   [](const StepTime* a, const StepTime* b) { return a->duration_us > b->duration_us; });
  if (longest.size() > most_named) longest.resize(most_named);
  for (const StepTime* s : longest)
    out += llvm::formatv(
               "<rect class=\"say\" x=\"{0:f1}\" y=\"{1:f0}\" width=\"{2:f1}\" height=\"{3:f0}\"><title>{4} {5}, "
               "{6:f2} ms{7}</title></rect>",
               left + (s->start_us - begin) * scale, top, s->duration_us * scale, lane - 6,
               escaped(llvm::join(s->ops, "+")), escaped(s->name), s->duration_us / 1e3,
               s->flops > 0 ? llvm::formatv(", {0:f1} GFLOP/s", s->flops / std::max(s->duration_us, 1e-9) / 1e3).str()
                            : std::string())
               .str();
  return out;
}

std::string drawing(const Trace::Run& run) {
  double begin = INFINITY;
  for (const auto& steps : run.ranks)
    for (const StepTime& s : steps) begin = std::min(begin, s.start_us);
  const double length = std::max(run.duration_us(), 1e-3), scale = width / length;
  const size_t lanes = std::min(run.ranks.size(), most_lanes);
  const double bottom = double(lanes) * lane + 4;
  std::string out = llvm::formatv(
                        "<svg class=\"time\" viewBox=\"0 0 {0:f0} {1:f0}\" role=\"img\" aria-label=\"Kernels and "
                        "collectives of each rank over {2:f2} ms\">",
                        left + width + 40, bottom + 22, length / 1e3)
                        .str();
  for (size_t r = 0; r < lanes; ++r) {
    const double top = double(r) * lane + 4;
    out += llvm::formatv("<text x=\"0\" y=\"{0:f0}\">rank {1}</text>", top + lane / 2 + 1, r).str() +
           lane_shapes(run.ranks[r], begin, scale, top);
  }
  // Round steps, about six of them.
  double step = std::pow(10.0, std::floor(std::log10(length / 6)));
  for (double factor : {2.0, 2.5, 2.0})
    if (length / step > 8) step *= factor;
  for (double at = 0; at <= length; at += step)
    out +=
        llvm::formatv(
            "<path class=\"tick\" d=\"M{0:f1} {1:f0}v5\"/><text class=\"axis\" x=\"{0:f1}\" y=\"{2:f0}\">{3} ms</text>",
            left + at * scale, bottom, bottom + 18,
            llvm::formatv(step < 1000 ? (step < 100 ? "{0:f2}" : "{0:f1}") : "{0:f0}", at / 1e3).str())
            .str();
  return out + "</svg>";
}

std::string by_op(const Trace::Run& run) {
  // The rank whose own work, without waiting in collectives, is longest.
  size_t busiest = 0;
  double most = -1;
  for (size_t r = 0; r < run.ranks.size(); ++r) {
    double own = 0;
    for (const StepTime& s : run.ranks[r]) own += s.collective.empty() ? s.duration_us : 0;
    if (own > most) most = own, busiest = r;
  }
  double all = 0;
  for (const StepTime& s : run.ranks[busiest]) all += s.duration_us;
  std::string table =
      "<table class=\"sort\">" +
      table_head({"op", "#times", "#ms", "#share", "#GFLOP/s", "#longest, ms", "the longest one's value"}) + "<tbody>";
  for (const OpTime& t : time_by_op(run.ranks[busiest]))
    table += llvm::formatv(
                 "<tr><td>{0}</td><td class=\"n\">{1}</td><td class=\"n\">{2:f3}</td><td class=\"n\">{3}</td><td "
                 "class=\"n\">{4}</td><td class=\"n\">{5:f3}</td><td class=\"name\">{6}</td></tr>\n",
                 escaped(t.op), grouped(t.count), t.us / 1e3, percent(t.us, all),
                 t.flops > 0 ? llvm::formatv("{0:f1}", t.flops / std::max(t.us, 1e-9) / 1e3).str() : std::string(),
                 t.longest_us / 1e3, escaped(t.longest))
                 .str();
  return "<h3>By op, on rank " + std::to_string(busiest) + ", which computes longest</h3>" +
         scrolling("Time by op", table + "</tbody></table>");
}
}  // namespace

const Trace::Run& typical_run(const Trace& trace) {
  std::vector<const Trace::Run*> runs;
  for (const Trace::Run& r : trace.runs()) runs.push_back(&r);
  std::stable_sort(runs.begin(), runs.end(),
                   [](const Trace::Run* a, const Trace::Run* b) { return a->duration_us() < b->duration_us(); });
  return *runs[runs.size() / 2];
}
double share_in_collectives(const Trace::Run& run) {
  double all = 0, meeting = 0;
  for (const StepTime& s : run.ranks[0]) all += s.duration_us, meeting += s.collective.empty() ? 0 : s.duration_us;
  return all > 0 ? meeting / all : 0;
}

std::string timeline(const Trace& trace) {
  const Trace::Run& run = typical_run(trace);
  std::string out =
      "<p class=\"answer\"><b>" + seconds(run.duration_us() / 1e6) + "</b> for " + escaped(run.what) +
      (trace.runs().size() > 1 ? ", the one of median length of " + std::to_string(trace.runs().size()) : "") +
      ". Rank 0: " + escaped(cause_of(run.ranks[0])) + ".</p>";
  out += "<ul class=\"legend\">";
  for (int kind = 0; kind < n_kinds; ++kind)
    out += std::string("<li><i class=\"") + kind_classes[kind] + "\"></i>" + kind_names[kind] + "</li>";
  out += "</ul>" + scrolling("Timeline", drawing(run));
  if (run.ranks.size() > most_lanes)
    out += "<p class=\"note\">The first " + std::to_string(most_lanes) + " of " + std::to_string(run.ranks.size()) +
           " ranks.</p>";
  return out + by_op(run);
}
}  // namespace optp::page
