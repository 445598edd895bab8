// What a line of constraints costs: bytes on each device, and what each run has to bring to where it is computed with.
#include <map>

#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/class_demands.h"

namespace optp {
namespace {
int64_t parts(const Mesh& mesh, const Axes& axes) {
  int64_t out = 1;
  for (const std::string& axis : axes)
    if (const MeshAxis* a = mesh.find(axis)) out *= a->size;
  return out;
}
// On the device that has the most.
int64_t held_bytes(const Mesh& mesh, const Value& v, const Sharding& s) {
  int64_t out = size_bytes(v.type.dtype);
  for (size_t d = 0; d < v.ndim(); ++d) {
    int64_t extent = s.dims[d].parts.empty() ? v.type.dims[d].constant().value_or(1) : 0;
    for (const ProductSharding& part : s.dims[d].parts) {
      int64_t of_part = 1;
      for (const FactorSharding& f : part.factors) {
        const int64_t n = f.extent.constant().value_or(1), k = parts(mesh, f.axes);
        of_part *= (n + k - 1) / k;
      }
      extent += of_part;
    }
    out *= extent;
  }
  return out;
}
struct Sum {
  size_t named = 0, following = 0, moved = 0;
  bool follows = false, changes = false;
  int64_t bytes = 0, moved_bytes = 0;
  std::string example, following_example;
};
void add(Sum& sum, const Mesh& mesh, const HeldAs& held) {
  const int64_t before = held_bytes(mesh, *held.value, held.before), after = held_bytes(mesh, *held.value, held.after);
  sum.bytes += after - before;
  sum.changes |= !same_placement(held.before, held.after);
  sum.follows |= held.follows;
  if (held.is_named && sum.named++ == 0) sum.example = called(*held.value);
  if (!held.is_named && sum.following++ == 0) sum.following_example = called(*held.value);
  if (held.is_moved) ++sum.moved, sum.moved_bytes += held_bytes(mesh, *held.value, replicated(held.value->ndim()));
}
std::string count(size_t n) { return std::to_string(n) + (n == 1 ? " tensor" : " tensors"); }
std::string sentence(const Constraint& line, const Sum& sum) {
  std::string out = text_of(line) + ": ";
  out += sum.named ? count(sum.named) + ", " + (sum.named > 1 ? "such as " : "") + sum.example : "";
  out +=
      sum.follows ? ", with what is computed with " + std::string(sum.named == 1 ? "it" : "them") : ", as held alone";
  if (sum.following)
    out += " and " + count(sum.following) + " more, " + (sum.following > 1 ? "such as " : "") + sum.following_example;
  out += sum.bytes == 0
             ? ": no bytes more on any device"
             : ": " + std::string(sum.bytes < 0 ? "−" : "+") + bytes_in_words(std::abs(sum.bytes)) + " on each device";
  if (sum.moved)
    out += "; " +
           (sum.moved == sum.named ? "each run brings " : "each run brings " + std::to_string(sum.moved) + " of ") +
           std::string(sum.named == 1 ? "it" : "them") + " to the layout that is computed with, " +
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
  for (const auto& [line, sum] : sums)
    if (sum.changes || sum.moved) out.push_back(sentence(*line, sum));
  return out;
}
}  // namespace optp
