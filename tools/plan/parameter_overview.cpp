#include "tools/plan/parameter_overview.h"

#include <algorithm>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/progress.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
struct Row {
  std::string name, shape, sharding, local;
  int64_t count = 0, bytes = 0;
  bool whole = false;
};
using Rows = std::vector<Row>;

// What the names of parameters begin with. An exporter's own names say nothing.
std::string start_of_names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Plan::Parameter& p : plan.parameters)
    if (!is_numbered(model_name(p))) names.push_back(model_name(p));
  return common_start(names);
}
Rows rows_of(const Plan& plan, llvm::StringRef start) {
  Rows rows;
  for (const Plan::Parameter& p : plan.parameters) {
    llvm::StringRef name = model_name(p);
    name.consume_front(start);
    Row row{.name = folded(printable(name)),
            .shape = shape_text(p.dims),
            .sharding = to_string(p.sharding, /*counted=*/true),
            .local = local_text(*p.layout),
            .count = 1,
            .bytes = p.bytes,
            .whole = p.sharding.is_replicated()};
    // Anonymous names of equal weights say nothing: they fold by shape and sharding.
    if (is_numbered(row.name)) row.name = row.name.substr(0, row.name.find_last_of('_')) + "_*";
    auto it = std::find_if(rows.begin(), rows.end(), [&](const Row& r) {
      return r.name == row.name && r.shape == row.shape && r.sharding == row.sharding;
    });
    if (it == rows.end())
      rows.push_back(std::move(row));
    else
      ++it->count, it->bytes += row.bytes;
  }
  return rows;
}
// What differs in one short word only, as the weights of query, key and value, is one row.
void join_similar(Rows& rows) {
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
}
// What names begin with is left out below; where the file has others than the model, they are not shown at all.
std::string about_names(const Plan& plan, llvm::StringRef start) {
  std::string out = start.empty() ? "" : "names begin with " + fit(printable(start), terminal_width - 50);
  const auto n = llvm::count_if(plan.parameters, [](const Plan::Parameter& p) { return !p.model_name.empty(); });
  if (n) out += (out.empty() ? "" : "; ") + std::to_string(n) + " have others in the file (--tensors)";
  return out;
}
void print_split(const Rows& rows, llvm::raw_ostream& out) {
  size_t name_columns = 0, shape_columns = 0, sharding_columns = 0, local_columns = 0;
  for (const Row& r : rows) {
    if (r.whole) continue;
    name_columns = std::max(name_columns, columns(r.name)), shape_columns = std::max(shape_columns, columns(r.shape));
    sharding_columns = std::max(sharding_columns, columns(r.sharding)),
    local_columns = std::max(local_columns, columns(r.local));
  }
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
}
void print_whole(const Rows& rows, int64_t devices, llvm::raw_ostream& out) {
  int64_t all_bytes = 0, whole_bytes = 0;
  for (const Row& r : rows) all_bytes += r.bytes, whole_bytes += r.whole ? r.bytes : 0;
  if (whole_bytes == 0) return;
  out << "  whole on every device: " << bytes_text(double(whole_bytes)) << "\n";
  if (devices == 1) return;
  int64_t rest = 0, rest_bytes = 0;
  size_t shown = 0;
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
}  // namespace

void print_parameters(const Plan& plan, llvm::raw_ostream& out) {
  const std::string start = start_of_names(plan);
  Rows rows = rows_of(plan, start);
  join_similar(rows);
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.bytes > b.bytes; });
  out << "\nhow the weights are cut, and what a device has of each (* stands for a layer)\n";
  if (const std::string names = about_names(plan, start); !names.empty()) out << "  " << names << "\n";
  print_split(rows, out);
  print_whole(rows, plan.mesh.devices(), out);
}
}  // namespace optp
