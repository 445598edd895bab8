#include "tools/run/lookups.h"

#include <optional>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/ir/reachable.h"
#include "passes/passes.h"
#include "runtime/reference.h"

namespace optp {
namespace {
struct Lookup {
  Place node;
  std::string table, index;
  int64_t rows;
};
bool is_cheap(const Graph& graph, const Value& index) {
  return !index.producer || llvm::none_of(needed_by(graph, {index.producer}),
                                          [](const Node* node) { return node->op->is(Trait::product); });
}
// The graph becomes what computes their indices.
std::vector<Lookup> keep_indices(Graph& graph) {
  std::vector<Lookup> out;
  graph.outputs.clear();
  for (const auto& node : graph.nodes) {
    if (!node->op->is(Trait::looks_up)) continue;
    Value& index = node->operand(1);
    const Value& table = node->operand(0);
    const auto rows = table.type.dims[size_t(node->integer("axis"))].constant();
    if (!rows || index.is_data() || !is_cheap(graph, index)) continue;
    out.push_back({place_of(*node), table.name, index.name, *rows});
    if (llvm::none_of(graph.outputs, [&](const GraphOutput& o) { return o.value == &index; }))
      graph.outputs.push_back({index.name, &index});
  }
  graph.erase_dead();
  return out;
}
std::optional<int64_t> largest_outside(const Array& indices, int64_t rows) {
  std::optional<int64_t> out;
  for (int64_t k : indices.i)
    if (k < -rows || k >= rows) out = std::max(k, out.value_or(k));
  return out;
}
}  // namespace

llvm::Error check_lookups(const Graph& model, const HostArrays& inputs, const DimValues& dims) {
  const auto graph = model.clone();
  const std::vector<Lookup> lookups = keep_indices(*graph);
  auto bound = bind_dims(*graph, dims);
  if (!bound) return bound.takeError();
  NamedArrays arrays;
  for (const Value* v : (*bound)->inputs)
    if (auto it = inputs.find(v->name); it != inputs.end()) arrays[v->name] = to_array(it->second);
  auto found = run_reference({bound->get()}, {arrays});
  if (!found) return found.takeError();
  for (const Lookup& lookup : lookups)
    if (const auto outside = largest_outside((*found)[0][lookup.index], lookup.rows))
      return error(Code::out_of_range)
          .at(lookup.node)
          .at(joined(", ", tensor_place("operand 1", lookup.index)))
          .what("index")
          .expected("below " + llvm::Twine(lookup.rows) + ", the rows of " + quoted(lookup.table))
          .found(*outside);
  return llvm::Error::success();
}
}  // namespace optp
