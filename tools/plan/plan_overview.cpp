#include "tools/plan/plan_overview.h"

#include <algorithm>
#include <tuple>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/progress.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/parameter_overview.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
void print_device(const Plan& plan, const Plan::Device& d, llvm::StringRef ranks, int64_t most,
                  llvm::raw_ostream& out) {
  const double bytes = double(d.parameter_bytes), gflop = double(d.flops) / 1e9;
  const std::string work = gflop < 0.1 ? llvm::formatv("{0:f4}", gflop).str() : llvm::formatv("{0:f2}", gflop).str();
  const std::string activations = d.activation_peak_bytes ? bytes_text(double(*d.activation_peak_bytes)) : "unknown";
  out << std::string(5 - std::min<size_t>(5, columns(ranks)), ' ') << ranks
      << llvm::formatv(" {0,10}  {1,11}", grouped(d.parameter_elements), bytes_text(bytes));
  if (plan.is_training())
    out << llvm::formatv("  {0,11}  {1,11}  {2,11}  {3,7}\n", bytes_text(double(d.gradient_bytes)),
                         bytes_text(double(d.state_bytes)), activations, work);
  else
    out << llvm::formatv("  {0,5:f1}%  {1,11}  {2,7}  {3}\n",
                         100 * bytes / std::max(1.0, double(plan.totals.parameter_bytes)), activations, work,
                         bar(bytes / double(most), 16));
}
void print_devices(const Plan& plan, llvm::raw_ostream& out) {
  int64_t most = 1;
  for (const Plan::Device& d : plan.devices) most = std::max(most, d.parameter_bytes);
  out << (plan.is_training() ? "      parameters        bytes    gradients        state  activations    gflop\n"
                             : "      parameters        bytes  of all  activations    gflop\n");
  auto numbers = [](const Plan::Device& d) {
    return std::tuple(d.parameter_elements, d.parameter_bytes, d.state_bytes, d.activation_peak_bytes, d.flops);
  };
  for (size_t k = 0; k < plan.devices.size();) {
    const Plan::Device& d = plan.devices[k];
    size_t end = k + 1;  // many devices alike are one line
    while (plan.devices.size() > 4 && end < plan.devices.size() && numbers(plan.devices[end]) == numbers(d)) ++end;
    print_device(plan, d, std::to_string(k) + (end > k + 1 ? "–" + std::to_string(end - 1) : ""), most, out);
    k = end;
  }
}

// Which tensors a training step changes: those above, but for the frozen; and the largest of those that it does not.
struct Tensors {
  std::string kind;
  int64_t tensors = 0, elements = 0;
  std::vector<const Plan::Constant*> entries;
};
std::vector<Tensors> tensors_by_kind(const Plan& plan) {
  std::vector<Tensors> out{{"trained"}, {"frozen"}, {"constant"}};
  auto add = [](Tensors& kind, const Plan::Constant& entry) {
    ++kind.tensors, kind.elements += entry.elements;
    kind.entries.push_back(&entry);
  };
  for (const Plan::Parameter& p : plan.parameters) add(out[p.trained ? 0 : 1], p);
  for (const Plan::Constant& c : plan.constants) add(out[2], c);
  return out;
}
std::string count_text(const Tensors& t) {
  return grouped(t.tensors) + (t.tensors == 1 ? " tensor" : " tensors") +
         (t.tensors ? ", " + grouped(t.elements) + (t.elements == 1 ? " number" : " numbers") : "");
}
void print_trained(const Plan& plan, llvm::raw_ostream& out) {
  const std::vector<Tensors> kinds = tensors_by_kind(plan);
  out << "  " << kinds[0].kind << ": " << count_text(kinds[0]) << " (all: --tensors)\n";
  for (const Tensors& kind : {kinds[1], kinds[2]}) {
    if (kind.tensors == 0) continue;
    struct Row {
      std::string name;
      int64_t elements;
    };
    std::vector<Row> rows;
    for (const Plan::Constant* e : kind.entries) {
      const std::string name = folded(printable(e->name)) + " " + shape_text(e->dims);
      auto it = llvm::find_if(rows, [&](const Row& r) { return r.name == name; });
      if (it == rows.end())
        rows.push_back({name, e->elements});
      else
        it->elements += e->elements;
    }
    llvm::stable_sort(rows, [](const Row& a, const Row& b) { return a.elements > b.elements; });
    if (kind.tensors == kind.elements) {  // single numbers: their names say little
      out << "  " << kind.kind << ": " << count_text(kind) << "\n";
      continue;
    }
    const std::string head = "  " + kind.kind + ": " + count_text(kind) + ": ";
    const std::string tail = rows.size() > 1 ? ", …" : "";
    out << head << fit(rows[0].name, terminal_width - columns(head) - columns(tail)) << tail << "\n";
  }
}

struct Meeting {
  std::string kind, formula, reason, example;
  int64_t bytes = 0, count = 0;
};
// Those alike are one.
std::vector<Meeting> meetings_of(const Plan& plan) {
  std::vector<Meeting> out;
  for (const Plan::Meeting& c : plan.collectives) {
    Meeting m{kind_text(c.call.kind, 1),
              c.bytes_formula.constant() ? std::string() : c.bytes_formula.text(),
              folded(printable(c.call.reason)),
              folded(printable(c.of)),
              c.bytes,
              1};
    auto it = std::find_if(out.begin(), out.end(), [&](const Meeting& x) {
      return x.kind == m.kind && x.bytes == m.bytes && x.reason == m.reason && x.example == m.example;
    });
    if (it == out.end())
      out.push_back(std::move(m));
    else
      ++it->count;
  }
  return out;
}
void print_collectives(const Plan& plan, llvm::raw_ostream& out) {
  const std::string counts = collectives_text(plan.totals);
  out << "\nwhat is communicated: " << counts;
  if (counts == "nothing") {
    out << "\n";
    return;
  }
  out << "; " << bytes_text(double(plan.totals.collective_bytes)) << "\n";
  if (plan.is_training()) {
    out << " ";
    for (Phase phase : {Phase::forward, Phase::loss, Phase::backward, Phase::optimizer})
      if (auto n = llvm::count_if(plan.collectives, [&](const Plan::Meeting& c) { return c.phase == phase; }))
        out << " " << to_string(phase) << " " << n;
    out << "\n";
  }
  const std::vector<Meeting> meetings = meetings_of(plan);
  constexpr size_t most_meetings = 12;
  int64_t rest = 0;
  for (size_t k = 0; k < meetings.size(); ++k) {
    const Meeting& m = meetings[k];
    if (k >= most_meetings) {
      rest += m.count;
      continue;
    }
    const std::string head = llvm::formatv("{0,4}× {1}, {2}{3} each: ", m.count, m.kind, bytes_text(double(m.bytes)),
                                           m.formula.empty() ? "" : " (" + m.formula + ")")
                                 .str();
    out << head << fit(m.example, columns(head) + 16 > terminal_width ? 16 : terminal_width - columns(head)) << "\n";
    if (k + 1 == meetings.size() || meetings[k + 1].reason != m.reason || k + 1 == most_meetings)
      print_wrapped(out, m.reason, 8);
  }
  if (rest) out << "      and " << rest << " more (--json)\n";
}
}  // namespace

void print_tensors(const Plan& plan, llvm::raw_ostream& out) {
  for (const Tensors& kind : tensors_by_kind(plan)) {
    out << kind.kind << ": " << count_text(kind) << "\n";
    for (const Plan::Constant* e : kind.entries) {
      out << "  " << printable(e->name) << "  " << long_name(e->dtype) << " " << shape_text(e->dims) << "  "
          << grouped(e->elements);
      if (!e->aliases.empty())
        out << "  also named " << printable(e->aliases[0])
            << (e->aliases.size() > 1 ? " and " + std::to_string(e->aliases.size() - 1) + " more" : std::string());
      out << "\n";
    }
  }
}

void print_plan(const Plan& plan, llvm::raw_ostream& out) {
  const std::string dims = examples_text(plan);
  print_wrapped(out, printable(plan.model.name) + ": strategy " + plan.strategy + ", mesh " + mesh_text(plan.mesh), 0);
  out << grouped(plan.totals.parameter_elements) << " parameters, " << bytes_text(double(plan.totals.parameter_bytes));
  if (!plan.weights) out << " (weights not written)";
  out << "\n\n";
  print_wrapped(out, "each device holds" + (dims.empty() ? "" : " (activations, flops and bytes sent at " + dims + ")"),
                0);
  print_devices(plan, out);
  print_parameters(plan, out);
  print_trained(plan, out);
  print_collectives(plan, out);
  if (plan.remarks.empty()) return;
  out << "\nremarks\n";
  for (size_t k = 0; k < plan.remarks.size() && k < 6; ++k) print_wrapped(out, printable(plan.remarks[k].text), 2);
  if (plan.remarks.size() > 6) out << "  and " << plan.remarks.size() - 6 << " more (--json)\n";
}
}  // namespace optp
