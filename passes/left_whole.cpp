// What a strategy leaves whole costs its bytes on every device: said where it is much.
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/FormatVariadic.h"
#include "passes/class_demands.h"
#include "passes/passes.h"
#include "passes/strategy.h"

namespace optp {
namespace {
constexpr int64_t worth_saying = 50;  // one part in so many
constexpr size_t most_named = 3;

int64_t bytes_of(const Value& v) { return v.data->elements() * size_bytes(v.type.dtype); }
// A cut of the dim that has the most indices.
std::string a_cut(const Value& v, const MeshAxis& axis) {
  size_t longest = 0;
  for (size_t d = 1; d < v.ndim(); ++d)
    if (v.type.dims[d].constant().value_or(0) > v.type.dims[longest].constant().value_or(0)) longest = d;
  std::string out = "[";
  for (size_t d = 0; d < v.ndim(); ++d) out += std::string(d ? ", " : "") + (d == longest ? axis.name : "_");
  return out + "]";
}
}  // namespace

std::string left_whole(const Graph& graph, const PassOptions& options,
                       llvm::function_ref<std::string(const Value&)> why) {
  const MeshAxis* axis = strategy_axis(graph.mesh);
  if (!axis || axis->size == 1) return "";
  int64_t all = 0, whole = 0;
  std::vector<const Value*> left;
  for (const Value* v : graph.data()) {
    if (!v->is_parameter) continue;
    all += bytes_of(*v);
    if (!v->sharding->is_replicated() || v->cause.kind != CauseKind::unsplit) continue;
    whole += bytes_of(*v);
    if (v->ndim() >= 2) left.push_back(v);
  }
  if (left.empty() || whole * worth_saying <= all) return "";
  llvm::stable_sort(left, [](const Value* a, const Value* b) { return bytes_of(*a) > bytes_of(*b); });
  std::string out =
      llvm::formatv("strategy {0} leaves {1:f1} % of the weights' bytes whole on every device, {2}: ", options.strategy,
                    100 * double(whole) / double(all), bytes_in_words(whole))
          .str();
  for (size_t k = 0; k < left.size() && k < most_named; ++k)
    out += std::string(k ? ", " : "") + called(*left[k]) + " " + bytes_in_words(bytes_of(*left[k])) + " (" +
           why(*left[k]) + ")";
  if (left.size() > most_named) out += " and " + std::to_string(left.size() - most_named) + " more";
  const std::string& name = left[0]->model_name.empty() ? left[0]->name : left[0]->model_name;
  return out + "; a line of a --sharding file can cut them, such as: " + printable(name) + " " + a_cut(*left[0], *axis);
}
}  // namespace optp
