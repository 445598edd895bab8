// What a line of constraints costs: bytes on each device, and what each run has to bring to where it is computed with.
#include <algorithm>
#include <map>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/shard.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/class_demands.h"

namespace optp {
namespace {
// Of each device.
std::vector<int64_t> held_bytes(const Mesh& mesh, const Value& v, const Sharding& s) {
  Extents whole;
  for (Dim d : v.type.dims) whole.push_back(d.constant().value_or(1));
  std::vector<int64_t> out;
  for (const Shard& shard : Shard::of_all(whole, s, mesh)) out.push_back(shard.elements() * size_bytes(v.type.dtype));
  return out;
}
struct Sum {
  size_t named = 0, following = 0, moved = 0, results = 0;
  bool same_results = false;
  bool follows = false, changes = false;
  std::vector<int64_t> bytes;  // more than before, by device
  int64_t moved_bytes = 0;
  std::string example, following_example, result;
};
void add(Sum& sum, const Mesh& mesh, const HeldAs& held) {
  if (!held.value->is_data()) {
    if (same_placement(held.before, held.after))
      sum.same_results = true;
    else if (sum.results++ == 0)
      sum.result = quoted(held.value->name);
    return;
  }
  const auto before = held_bytes(mesh, *held.value, held.before), after = held_bytes(mesh, *held.value, held.after);
  sum.bytes.resize(after.size());
  for (size_t r = 0; r < after.size(); ++r) sum.bytes[r] += after[r] - before[r];
  sum.changes |= !same_placement(held.before, held.after);
  sum.follows |= held.follows;
  if (held.is_named && sum.named++ == 0) sum.example = called(*held.value);
  if (!held.is_named && !same_placement(held.before, held.after) && sum.following++ == 0)
    sum.following_example = called(*held.value);
  if (held.is_moved) ++sum.moved, sum.moved_bytes += held_bytes(mesh, *held.value, replicated(held.value->ndim()))[0];
}
std::string more_in_words(llvm::ArrayRef<int64_t> by_device) {
  const auto words = [](int64_t more) {
    return more == 0 ? std::string("none") : (more < 0 ? "−" : "+") + bytes_in_words(std::abs(more));
  };
  const auto [least, most] = std::minmax_element(by_device.begin(), by_device.end());
  if (*least != *most) return words(*least) + " to " + words(*most) + " a device";
  return *most == 0 ? "no more bytes of weights on any device" : words(*most) + " on each device";
}
std::string count(size_t n, llvm::StringRef of = "tensor") {
  return (llvm::Twine(n) + " " + of + (n == 1 ? "" : "s")).str();
}
// What a line that holds nothing otherwise sends is not told by bytes held.
std::string sentence_of_results(const Constraint& line, const Sum& sum) {
  const bool several = sum.results > 1;
  return text_of(line) + ": " + std::to_string(sum.results) + (several ? " results, such as " : " result, ") +
         sum.result + ", unlike the strategy's choice; inspect --what-if '" + pattern_text(line) + "=" + line.sharding +
         "' tells what is sent for " + (several ? "them" : "it");
}
std::string tensors_of(const Sum& sum) {
  return sum.named ? count(sum.named) + ", " + (sum.named > 1 ? "such as " : "") + sum.example : "";
}
std::string sentence(const Constraint& line, const Sum& sum) {
  std::string out = text_of(line) + ": ";
  out += tensors_of(sum);
  out +=
      sum.follows ? ", with what is computed with " + std::string(sum.named == 1 ? "it" : "them") : ", as held alone";
  if (sum.following)
    out += " and " + count(sum.following) + " more, " + (sum.following > 1 ? "such as " : "") + sum.following_example;
  out += ": " + more_in_words(sum.bytes);
  if (sum.moved)
    out += "; " +
           (sum.moved == sum.named ? "each run brings " : "each run brings " + std::to_string(sum.moved) + " of ") +
           std::string(sum.named == 1 ? "it" : "them") + " to the layout that its product needs, " +
           bytes_in_words(sum.moved_bytes);
  return out;
}
}  // namespace

std::string bytes_in_words(int64_t bytes) {
  constexpr int64_t kib = 1024, mib = kib * kib, gib = mib * kib;
  if (bytes < kib) return std::to_string(bytes) + " bytes";
  if (bytes < mib) return llvm::formatv("{0:f1} KiB", double(bytes) / kib).str();
  if (bytes < gib) return llvm::formatv("{0:f1} MiB", double(bytes) / mib).str();
  return llvm::formatv("{0:f1} GiB", double(bytes) / gib).str();
}
std::vector<std::string> cost_remarks(const Mesh& mesh, llvm::ArrayRef<HeldAs> held) {
  std::map<const Constraint*, Sum> sums;  // lines stand in one list, in their order
  for (const HeldAs& each : held) add(sums[each.by], mesh, each);
  std::vector<std::string> out;
  std::vector<const Constraint*> same;
  for (const auto& [line, sum] : sums)
    if (sum.changes || sum.moved)
      out.push_back(sentence(*line, sum));
    else if (sum.results)
      out.push_back(sentence_of_results(*line, sum));
    else if (sum.named || sum.same_results)
      same.push_back(line);
  if (same.size() == 1)
    out.push_back(text_of(*same[0]) + ": as without this line");
  else if (!same.empty())
    out.push_back(text_of(*same[0]) + " and " + count(same.size() - 1, "line") + " more: as without them");
  return out;
}
}  // namespace optp
