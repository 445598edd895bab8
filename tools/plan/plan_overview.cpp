#include "tools/plan/plan_overview.h"

#include <algorithm>
#include <tuple>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/progress.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;

void print_devices(const JsonObject& plan, llvm::raw_ostream& out) {
  const JsonObject& totals = *plan.getObject("totals");
  const JsonArray& devices = *plan.getArray("devices");
  int64_t most = 1;
  for (const auto& d : devices) most = std::max(most, *d.getAsObject()->getInteger("parameter_bytes"));
  const bool training = plan.getString("job") == llvm::StringRef("training");
  out << (training ? "      parameters        bytes    gradients        state  activations    gflop\n"
                   : "      parameters        bytes  of all  activations    gflop\n");
  auto numbers = [](const JsonObject& d) {
    return std::tuple(*d.getInteger("parameter_elements"), *d.getInteger("parameter_bytes"),
                      *d.getInteger("state_bytes"), *d.getInteger("activation_peak_bytes"), *d.getInteger("flops"));
  };
  for (size_t k = 0; k < devices.size();) {
    const JsonObject& d = *devices[k].getAsObject();
    size_t end = k + 1;  // many devices alike are one line
    while (devices.size() > 4 && end < devices.size() && numbers(*devices[end].getAsObject()) == numbers(d)) ++end;
    const double bytes = double(*d.getInteger("parameter_bytes"));
    const std::string ranks = std::to_string(k) + (end > k + 1 ? "–" + std::to_string(end - 1) : "");
    const double gflop = double(*d.getInteger("flops")) / 1e9;
    const std::string work = gflop < 0.1 ? llvm::formatv("{0:f4}", gflop).str() : llvm::formatv("{0:f2}", gflop).str();
    auto of = [&](const char* member) { return bytes_text(double(*d.getInteger(member))); };
    out << std::string(5 - std::min<size_t>(5, columns(ranks)), ' ') << ranks
        << llvm::formatv(" {0,10}  {1,11}", grouped(*d.getInteger("parameter_elements")), bytes_text(bytes));
    if (training)
      out << llvm::formatv("  {0,11}  {1,11}  {2,11}  {3,7}\n", of("gradient_bytes"), of("state_bytes"),
                           of("activation_peak_bytes"), work);
    else
      out << llvm::formatv("  {0,5:f1}%  {1,11}  {2,7}  {3}\n",
                           100 * bytes / std::max(1.0, double(*totals.getInteger("parameter_bytes"))),
                           of("activation_peak_bytes"), work, bar(bytes / double(most), 16));
    k = end;
  }
}

void print_parameters(const JsonObject& plan, llvm::raw_ostream& out) {
  const JsonArray& parameters = *plan.getArray("parameters");
  const int64_t devices = *plan.getObject("mesh")->getInteger("devices");
  struct Row {
    std::string name, shape, sharding, local, reason;
    int64_t count = 0, bytes = 0;
    bool whole = false;
  };
  std::vector<std::string> names;
  for (const auto& entry : parameters)
    if (llvm::StringRef name = *entry.getAsObject()->getString("name"); !name.starts_with("onnx::"))
      names.push_back(name.str());
  const std::string start = common_start(names);
  std::vector<Row> rows;
  for (const auto& entry : parameters) {
    const JsonObject& p = *entry.getAsObject();
    llvm::StringRef name = *p.getString("name");
    name.consume_front(start);
    Row row{folded(printable(name)),
            shape_text(*p.getArray("shape")),
            p.getString("sharding")->str(),
            local_text(*p.getArray("ranks")),
            p.getObject("cause")->getString("text")->str(),
            1,
            *p.getInteger("bytes")};
    row.whole = row.sharding.find_first_not_of("[_, ]()") == std::string::npos;
    // Anonymous names of equal weights say nothing: they fold by shape and sharding.
    if (llvm::StringRef(row.name).starts_with("onnx::"))
      row.name = row.name.substr(0, row.name.find_last_of('_')) + "_*";
    auto it = std::find_if(rows.begin(), rows.end(), [&](const Row& r) {
      return r.name == row.name && r.shape == row.shape && r.sharding == row.sharding;
    });
    if (it == rows.end())
      rows.push_back(std::move(row));
    else
      ++it->count, it->bytes += row.bytes;
  }
  // What differs in one short word only, as the weights of query, key and value, is one row.
  for (size_t k = 0; k < rows.size(); ++k) {
    std::vector<std::string> alike{rows[k].name};
    for (size_t j = k + 1; j < rows.size();) {
      const bool same = rows[j].shape == rows[k].shape && rows[j].sharding == rows[k].sharding &&
                        rows[j].local == rows[k].local && rows[j].count == rows[k].count;
      std::vector<std::string> more = alike;
      more.push_back(rows[j].name);
      if (same && joined(more)) {
        alike = std::move(more);
        rows[k].bytes += rows[j].bytes;
        rows.erase(rows.begin() + ptrdiff_t(j));
      } else {
        ++j;
      }
    }
    if (alike.size() > 1) rows[k].name = *joined(alike), rows[k].count *= int64_t(alike.size());
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.bytes > b.bytes; });

  int64_t all_bytes = 0, whole_bytes = 0;
  size_t name_columns = 0, shape_columns = 0, sharding_columns = 0, local_columns = 0;
  for (const Row& r : rows) {
    all_bytes += r.bytes;
    if (r.whole) {
      whole_bytes += r.bytes;
      continue;
    }
    name_columns = std::max(name_columns, columns(r.name)), shape_columns = std::max(shape_columns, columns(r.shape));
    sharding_columns = std::max(sharding_columns, columns(r.sharding)),
    local_columns = std::max(local_columns, columns(r.local));
  }
  out << "\nhow the weights are cut, and what a device has of each (* stands for a layer)\n";
  if (!start.empty()) out << "  names begin with " << fit(printable(start), terminal_width - 19) << "\n";
  const size_t taken = 7 + shape_columns + 2 + sharding_columns + 1 + 2 + local_columns;
  name_columns = std::min(name_columns, taken + 16 > terminal_width ? 16 : terminal_width - taken);
  constexpr size_t most_rows = 16;
  size_t shown = 0;
  int64_t rest = 0, rest_bytes = 0;
  for (const Row& r : rows) {
    if (r.whole) continue;
    if (++shown > most_rows) {
      rest += r.count, rest_bytes += r.bytes;
      continue;
    }
    out << llvm::formatv("{0,4}× ", r.count) << padded(fit(r.name, name_columns), name_columns) << " "
        << padded(r.shape, shape_columns) << "  " << padded(r.sharding, sharding_columns) << " → " << r.local << "\n";
  }
  if (rest) out << "      and " << rest << " smaller ones, " << bytes_text(double(rest_bytes)) << "\n";
  if (whole_bytes == 0) return;
  out << "  whole on every device: " << bytes_text(double(whole_bytes)) << "\n";
  if (devices == 1) return;
  rest = rest_bytes = 0;
  shown = 0;
  for (const Row& r : rows) {
    if (!r.whole) continue;
    if (r.bytes * 200 < all_bytes || ++shown > 6) {  // below half a percent
      rest += r.count, rest_bytes += r.bytes;
      continue;
    }
    const std::string tail = " " + r.shape + "  " + bytes_text(double(r.bytes));
    out << llvm::formatv("{0,4}× ", r.count) << fit(r.name, terminal_width - 6 - columns(tail)) << tail << "\n";
  }
  if (rest)
    out << llvm::formatv("{0,4}× ", rest) << (shown ? "smaller ones, " : "norms, biases and other small ones, ")
        << bytes_text(double(rest_bytes)) << "\n";
}

// Which tensors a training step changes: those above, but for the frozen; and the largest of those that it does not.
struct Tensors {
  std::string kind;
  int64_t tensors = 0, elements = 0;
  std::vector<const JsonObject*> entries;
};
std::vector<Tensors> tensors_by_kind(const JsonObject& plan) {
  std::vector<Tensors> out{{"trained"}, {"frozen"}, {"constant"}};
  auto add = [](Tensors& kind, const JsonObject& entry) {
    ++kind.tensors, kind.elements += *entry.getInteger("elements");
    kind.entries.push_back(&entry);
  };
  for (const auto& e : *plan.getArray("parameters"))
    add(out[e.getAsObject()->getBoolean("trained").value_or(true) ? 0 : 1], *e.getAsObject());
  for (const auto& e : *plan.getArray("constants")) add(out[2], *e.getAsObject());
  return out;
}
std::string count_text(const Tensors& t) {
  return grouped(t.tensors) + (t.tensors == 1 ? " tensor" : " tensors") +
         (t.tensors ? ", " + grouped(t.elements) + (t.elements == 1 ? " number" : " numbers") : "");
}
void print_trained(const JsonObject& plan, llvm::raw_ostream& out) {
  const std::vector<Tensors> kinds = tensors_by_kind(plan);
  out << "  " << kinds[0].kind << ": " << count_text(kinds[0]) << " (all: --tensors)\n";
  for (const Tensors& kind : {kinds[1], kinds[2]}) {
    if (kind.tensors == 0) continue;
    struct Row {
      std::string name;
      int64_t elements;
    };
    std::vector<Row> rows;
    for (const JsonObject* e : kind.entries) {
      const std::string name = folded(printable(*e->getString("name"))) + " " + shape_text(*e->getArray("shape"));
      auto it = llvm::find_if(rows, [&](const Row& r) { return r.name == name; });
      if (it == rows.end())
        rows.push_back({name, *e->getInteger("elements")});
      else
        it->elements += *e->getInteger("elements");
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

void print_collectives(const JsonObject& plan, llvm::raw_ostream& out) {
  const JsonObject& totals = *plan.getObject("totals");
  const std::string counts = collectives_text(totals);
  out << "\nwhat is communicated: " << counts;
  if (counts == "nothing") {
    out << "\n";
    return;
  }
  out << "; " << bytes_text(double(*totals.getInteger("collective_bytes"))) << "\n";
  if (plan.getString("job") == llvm::StringRef("training")) {
    out << " ";
    for (const char* phase : {"forward", "loss", "backward", "optimizer"})
      if (auto n = llvm::count_if(*plan.getArray("collectives"), [&](const auto& c) {
            return c.getAsObject()->getString("phase") == llvm::StringRef(phase);
          }))
        out << " " << phase << " " << n;
    out << "\n";
  }
  struct Meeting {
    std::string kind, formula, reason, example;
    int64_t bytes = 0, count = 0;
  };
  std::vector<Meeting> meetings;
  for (const auto& entry : *plan.getArray("collectives")) {
    const JsonObject& c = *entry.getAsObject();
    Meeting m{kind_text(*c.getString("kind"), 1),
              c.get("bytes_formula")->getAsString().value_or("").str(),
              folded(printable(*c.getString("reason"))),
              folded(printable(*c.getString("of"))),
              *c.getInteger("bytes"),
              1};
    auto it = std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& x) {
      return x.kind == m.kind && x.bytes == m.bytes && x.reason == m.reason && x.example == m.example;
    });
    if (it == meetings.end())
      meetings.push_back(m);
    else
      ++it->count;
  }
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

void print_tensors(const JsonObject& plan, llvm::raw_ostream& out) {
  for (const Tensors& kind : tensors_by_kind(plan)) {
    out << kind.kind << ": " << count_text(kind) << "\n";
    for (const JsonObject* e : kind.entries) {
      out << "  " << printable(*e->getString("name")) << "  " << *e->getString("dtype") << " "
          << shape_text(*e->getArray("shape")) << "  " << grouped(*e->getInteger("elements"));
      if (const JsonArray* aliases = e->getArray("aliases"); aliases && !aliases->empty())
        out << "  also named " << printable(*(*aliases)[0].getAsString())
            << (aliases->size() > 1 ? " and " + std::to_string(aliases->size() - 1) + " more" : std::string());
      out << "\n";
    }
  }
}

void print_plan(const JsonObject& plan, llvm::raw_ostream& out) {
  const JsonObject& totals = *plan.getObject("totals");
  const JsonObject& mesh = *plan.getObject("mesh");
  std::string mesh_text, dims_text;
  for (const auto& a : *mesh.getArray("axes"))
    mesh_text += (mesh_text.empty() ? "" : " × ") + a.getAsObject()->getString("name")->str() + "=" +
                 std::to_string(*a.getAsObject()->getInteger("size"));
  for (const auto& [name, value] : *plan.getObject("dims"))
    if (!value.getAsObject()->get("equals"))
      dims_text += (dims_text.empty() ? "" : ", ") + name.str() + " " +
                   std::to_string(value.getAsObject()->getInteger("example").value_or(0));
  print_wrapped(out,
                printable(*plan.getObject("model")->getString("name")) + ": strategy " +
                    plan.getString("strategy")->str() + ", mesh " + mesh_text,
                0);
  out << grouped(*totals.getInteger("parameter_elements")) << " parameters, "
      << bytes_text(double(*totals.getInteger("parameter_bytes")));
  if (*plan.getBoolean("weights") == false) out << " (weights not written)";
  out << "\n\n";
  print_wrapped(
      out, "each device holds" + (dims_text.empty() ? "" : " (activations, flops and bytes sent at " + dims_text + ")"),
      0);
  print_devices(plan, out);
  print_parameters(plan, out);
  print_trained(plan, out);
  print_collectives(plan, out);
  if (const JsonArray* remarks = plan.getArray("remarks"); remarks && !remarks->empty()) {
    out << "\nremarks\n";
    for (size_t k = 0; k < remarks->size() && k < 6; ++k)
      print_wrapped(out, printable(*(*remarks)[k].getAsObject()->getString("text")), 2);
    if (remarks->size() > 6) out << "  and " << remarks->size() - 6 << " more (--json)\n";
  }
}
}  // namespace optp
