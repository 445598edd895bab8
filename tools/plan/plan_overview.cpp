#include "tools/plan/plan_overview.h"

#include <algorithm>
#include <map>
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
// A row of the table of devices: one of them, or all together.
struct DeviceRow {
  std::string ranks;
  int64_t parameter_elements = 0, parameter_bytes = 0, gradient_bytes = 0, state_bytes = 0, sent_bytes = 0, flops = 0;
  std::optional<int64_t> activation_peak_bytes;

  auto numbers() const {
    return std::tuple(parameter_elements, parameter_bytes, gradient_bytes, state_bytes, sent_bytes, flops,
                      activation_peak_bytes);
  }
  void add(const DeviceRow& row) {
    parameter_elements += row.parameter_elements, parameter_bytes += row.parameter_bytes;
    gradient_bytes += row.gradient_bytes, state_bytes += row.state_bytes, sent_bytes += row.sent_bytes;
    flops += row.flops;
    if (!row.activation_peak_bytes) activation_peak_bytes.reset();
    if (activation_peak_bytes) *activation_peak_bytes += *row.activation_peak_bytes;
  }
};
std::vector<DeviceRow> device_rows(const Plan& plan) {
  std::vector<DeviceRow> rows;
  for (const Plan::Device& d : plan.devices)
    rows.push_back({.ranks = std::to_string(d.rank),
                    .parameter_elements = d.parameter_elements,
                    .parameter_bytes = d.parameter_bytes,
                    .gradient_bytes = d.gradient_bytes,
                    .state_bytes = d.state_bytes,
                    .flops = d.flops,
                    .activation_peak_bytes = d.activation_peak_bytes});
  for (const Plan::CollectiveUse& c : plan.collectives)
    for (const std::vector<int64_t>& group : c.groups)
      for (int64_t rank : group) rows[size_t(rank)].sent_bytes += c.sent_bytes;  // the most that one of them sends
  return rows;
}
void print_row(const DeviceRow& row, const Plan& plan, int64_t most, llvm::raw_ostream& out) {
  const double bytes = double(row.parameter_bytes);
  const std::string activations =
      row.activation_peak_bytes ? bytes_text(double(*row.activation_peak_bytes)) : "unknown";
  const std::string sent = bytes_text(double(row.sent_bytes)), work = gflop_text(row.flops);
  out << std::string(5 - std::min<size_t>(5, columns(row.ranks)), ' ') << row.ranks
      << llvm::formatv(" {0,10} {1,10}", grouped(row.parameter_elements), bytes_text(bytes));
  if (plan.is_training())
    out << llvm::formatv(" {0,10} {1,10} {2,11} {3,10} {4,7}\n", bytes_text(double(row.gradient_bytes)),
                         bytes_text(double(row.state_bytes)), activations, sent, work);
  else
    out << llvm::formatv(" {0,5:f1}% {1,11} {2,10} {3,7}{4}\n",
                         100 * bytes / std::max(1.0, double(plan.totals.parameter_bytes)), activations, sent, work,
                         most ? "  " + bar(bytes / double(most), 10) : std::string());
}
void print_devices(const Plan& plan, llvm::raw_ostream& out) {
  int64_t most = 1;
  for (const Plan::Device& d : plan.devices) most = std::max(most, d.parameter_bytes);
  out << (plan.is_training() ? "      parameters      bytes  gradients      state activations       sent   gflop\n"
                             : "      parameters      bytes of all activations       sent   gflop\n");
  const std::vector<DeviceRow> rows = device_rows(plan);
  DeviceRow all{.ranks = "all", .activation_peak_bytes = 0};
  for (size_t k = 0; k < rows.size();) {
    size_t end = k;  // many devices alike are one line
    while (end < rows.size() && (end == k || (rows.size() > 4 && rows[end].numbers() == rows[k].numbers())))
      all.add(rows[end++]);
    DeviceRow row = rows[k];
    if (end > k + 1) row.ranks += "–" + std::to_string(end - 1);
    print_row(row, plan, most, out);
    k = end;
  }
  if (rows.size() > 1) print_row(all, plan, /*most=*/0, out);
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
         (t.tensors ? ", " + grouped(t.elements) + (t.elements == 1 ? " element" : " elements") : "");
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
      const std::string name = folded(printable(model_name(*e))) + " " + shape_text(e->dims);
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

struct AlikeUses {
  std::string kind, formula, reason, example;
  int64_t bytes = 0, count = 0;
};
// Those alike are one.
std::vector<AlikeUses> alike_uses(const Plan& plan) {
  std::vector<AlikeUses> out;
  // Names that an exporter numbers say less than the module that a value is made in.
  std::map<llvm::StringRef, llvm::StringRef> modules;
  for (const Plan::Value& v : plan.values)
    if (!v.module.empty() && !llvm::StringRef(v.name).starts_with("/")) modules[v.name] = v.module;
  for (const auto* ports : {&plan.inputs, &plan.outputs})
    for (const Plan::Port& p : *ports) modules.erase(p.name);
  for (const Plan::CollectiveUse& c : plan.collectives) {
    AlikeUses m{kind_text(c.call.kind, 1),
                c.bytes_formula.constant() ? std::string() : c.bytes_formula.text(),
                folded(printable(c.call.reason)),
                folded(printable(modules.contains(c.of) ? modules[c.of] : llvm::StringRef(c.of))),
                c.bytes,
                1};
    auto it = std::find_if(out.begin(), out.end(), [&](const AlikeUses& x) {
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
  out << "\nwhat is communicated: " << collectives_text(plan.totals);
  if (plan.collectives.empty()) {
    out << "\n";
    return;
  }
  out << "; " << bytes_text(double(plan.totals.collective_bytes)) << "\n";
  if (plan.is_training()) {
    out << " ";
    for (Phase phase : {Phase::forward, Phase::loss, Phase::backward, Phase::optimizer})
      if (auto n = llvm::count_if(plan.collectives, [&](const Plan::CollectiveUse& c) { return c.phase == phase; }))
        out << " " << to_string(phase) << " " << n;
    out << "\n";
  }
  const std::vector<AlikeUses> uses = alike_uses(plan);
  constexpr size_t most_lines = 12;
  int64_t rest = 0;
  for (size_t k = 0; k < uses.size(); ++k) {
    const AlikeUses& m = uses[k];
    if (k >= most_lines) {
      rest += m.count;
      continue;
    }
    const std::string head = llvm::formatv("{0,4}× {1}, {2}{3} each: ", m.count, m.kind, bytes_text(double(m.bytes)),
                                           m.formula.empty() ? "" : " (" + m.formula + ")")
                                 .str();
    out << head << fit(m.example, columns(head) + 16 > terminal_width ? 16 : terminal_width - columns(head)) << "\n";
    if (k + 1 == uses.size() || uses[k + 1].reason != m.reason || k + 1 == most_lines) print_wrapped(out, m.reason, 8);
  }
  if (rest) out << "      and " << rest << " more (--json)\n";
}
}  // namespace

void print_tensors(const Plan& plan, llvm::raw_ostream& out) {
  for (const Tensors& kind : tensors_by_kind(plan)) {
    out << kind.kind << ": " << count_text(kind) << "\n";
    for (const Plan::Constant* e : kind.entries) {
      out << "  " << printable(e->name);
      if (!e->model_name.empty()) out << " (" << printable(e->model_name) << ")";
      out << "  " << long_name(e->dtype) << " " << shape_text(e->dims) << "  " << grouped(e->elements);
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
  out << "\n";
  print_wrapped(out, "each device holds" + (dims.empty() ? "" : " (activations, flops and bytes sent at " + dims + ")"),
                0);
  print_devices(plan, out);
  print_parameters(plan, out);
  print_trained(plan, out);
  print_collectives(plan, out);
  // What is whole stands above with its bytes.
  std::vector<const Plan::Remark*> remarks;
  for (const Plan::Remark& r : plan.remarks)
    if (r.kind != RemarkKind::left_whole) remarks.push_back(&r);
  if (remarks.empty()) return;
  out << "\nremarks\n";
  for (size_t k = 0; k < remarks.size() && k < 6; ++k) print_wrapped(out, printable(remarks[k]->text), 2);
  if (remarks.size() > 6) out << "  and " << remarks.size() - 6 << " more (--json)\n";
}
}  // namespace optp
