#include "tools/plan/plan_text.h"

#include <algorithm>

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

namespace optp {
std::string grouped(int64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t k = 0; k < digits.size(); ++k) {
    if (k && (digits.size() - k) % 3 == 0) out += ',';
    out += digits[k];
  }
  return out;
}
std::string gflop_text(int64_t flops) {
  const double gflop = double(flops) / 1e9;
  return gflop < 0.1 ? llvm::formatv("{0:f4}", gflop).str() : llvm::formatv("{0:f2}", gflop).str();
}
std::string shape_text(llvm::ArrayRef<Dim> dims) { return to_string(dims); }
std::string ranges_text(const SymbolicShard& shard) {
  std::string out;
  for (size_t d = 0; d < shard.dims.size(); ++d) {
    if (d) out += " × ";
    const SymbolicShardDim& intervals = shard.dims[d];
    for (size_t k = 0; k < intervals.size() && k < 3; ++k)
      out += (k ? "," : "") + intervals[k].start.text() + ":" + intervals[k].stop.text();
    if (intervals.size() > 3) out += ",… (" + std::to_string(intervals.size()) + ")";
  }
  return out;
}
namespace {
// Numbers that stand alone between dots, slashes and underscores; `number` says what becomes of each.
std::string without_numbers(llvm::StringRef name, llvm::function_ref<std::string(llvm::StringRef)> number) {
  std::string out;
  for (size_t k = 0; k < name.size(); ++k) {
    const bool boundary = k == 0 || name[k - 1] == '.' || name[k - 1] == '/' || name[k - 1] == '_';
    if (llvm::isDigit(name[k]) && boundary) {
      size_t end = k;
      while (end < name.size() && llvm::isDigit(name[end])) ++end;
      if (end == name.size() || name[end] == '.' || name[end] == '/' || name[end] == '_') {
        out += number(name.slice(k, end));
        k = end - 1;
        continue;
      }
    }
    out += name[k];
  }
  return out;
}
}  // namespace
std::string folded(llvm::StringRef name) {
  return without_numbers(name, [](llvm::StringRef) { return "*"; });
}
std::string folded_numbers(llvm::StringRef name) {
  std::string out;
  without_numbers(name, [&](llvm::StringRef number) {
    out += (out.empty() ? "" : ", ") + number.str();
    return "*";
  });
  return out;
}
std::string common_start(llvm::ArrayRef<std::string> names) {
  if (names.size() < 2) return "";
  llvm::StringRef start = names[0];
  for (llvm::StringRef name : names) {
    size_t n = 0;
    while (n < start.size() && n < name.size() && start[n] == name[n]) ++n;
    start = start.take_front(n);
  }
  return start.take_front(start.find_last_of("./") + 1).str();  // npos + 1 is 0
}
std::optional<std::string> joined(llvm::ArrayRef<std::string> names) {
  size_t from = 0, back = 0;
  const std::string& first = names[0];
  auto all = [&](auto&& same) { return llvm::all_of(names, same); };
  while (from < first.size() && all([&](const std::string& n) { return from < n.size() && n[from] == first[from]; }))
    ++from;
  while (back < first.size() && all([&](const std::string& n) {
           return back + from < n.size() && n[n.size() - 1 - back] == first[first.size() - 1 - back];
         }))
    ++back;
  std::string out = first.substr(0, from) + "{";
  for (const std::string& n : names) {
    const std::string middle = n.substr(from, n.size() - from - back);
    if (middle.empty() || middle.size() > 10 || middle.find_first_of("./") != std::string::npos) return std::nullopt;
    out += (&n == names.begin() ? "" : ",") + middle;
  }
  return out + "}" + first.substr(first.size() - back);
}
std::string local_text(const Plan::Layout& layout) {
  std::vector<std::vector<std::string>> dims(layout.dims.size());
  for (const Plan::RankShard& s : layout.shards) {
    const Dims shape = s.shard.shape();
    for (size_t d = 0; d < shape.size(); ++d)
      if (!llvm::is_contained(dims[d], shape[d].text())) dims[d].push_back(shape[d].text());
  }
  std::string out = "[";
  for (size_t d = 0; d < dims.size(); ++d) out += (d ? ", " : "") + llvm::join(dims[d], "|");
  return out + "]";
}
std::string kind_text(Collective kind, int64_t n) {
  std::string out = to_string(kind).str();
  std::replace(out.begin(), out.end(), '_', '-');
  return n == 1 ? out : out + "s";
}
std::string collectives_text(const Plan::Totals& totals) {
  std::string out;
  for (const auto& [kind, n] : totals.collectives)
    if (n) out += (out.empty() ? "" : ", ") + std::to_string(n) + " " + kind_text(kind, n);
  return out.empty() ? "nothing" : out;
}
std::string mesh_text(const Mesh& mesh) {
  std::string out;
  for (const MeshAxis& a : mesh.axes) out += (out.empty() ? "" : " × ") + a.name + "=" + std::to_string(a.size);
  return out;
}
std::string examples_text(const Plan& plan) {
  std::string out;
  for (const auto& [name, info] : plan.dims)
    if (!info.equals) out += (out.empty() ? "" : ", ") + name + " " + std::to_string(info.example);
  return out;
}
}  // namespace optp
