#include <set>

#include "frontend/ir/op.h"
#include "llvm/ADT/DenseSet.h"
#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
std::vector<std::vector<int64_t>> groups_along(const Mesh& mesh, llvm::ArrayRef<std::string> axes) {
  std::vector<std::vector<int64_t>> groups;
  llvm::DenseSet<int64_t> grouped;
  for (int64_t r = 0; r < mesh.devices(); ++r) {
    if (grouped.contains(r)) continue;
    const auto group = mesh.group(axes, r);
    groups.emplace_back(group.begin(), group.end());
    grouped.insert(group.begin(), group.end());
  }
  return groups;
}
// The nodes that take a value, and the outputs that give it.
std::vector<std::string> consumers_of(const Graph& graph, const Value& value) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const Use& use : value.uses)
    if (std::string name = node_name(*use.node); seen.insert(name).second) out.push_back(name);
  for (const GraphOutput& o : graph.outputs)
    if (o.value == &value && seen.insert(o.name).second) out.push_back(o.name);
  return out;
}
Plan::CollectiveUse collective_use(const Node& node, const Graph& graph, const DimValues& examples) {
  Plan::CollectiveUse out;
  CollectiveCall& call = out.call = call_of(node);
  for (Dim& d : call.dims) d = bind_rank(d, graph.mesh, 0);
  out.groups = groups_along(graph.mesh, call.axes);
  const Value &result = node.out(), &operand = node.operand(0);
  out.tensor = result.name, out.of = result.cause.from.empty() ? operand.name : result.cause.from;
  const Dim element = size_bytes(call.dtype);
  out.bytes_formula = product(call.dims) * element;
  out.sent_bytes_formula = sent_elements(call, graph.mesh.size_of(call.axes)) * element;
  out.bytes = number_at(out.bytes_formula, examples), out.sent_bytes = number_at(out.sent_bytes_formula, examples);
  out.phase = node.phase;
  if (call.extent) return out;  // of an input, for the shapes of all that follows
  if (operand.producer) out.producer = node_name(*operand.producer);
  out.consumers = consumers_of(graph, result);
  return out;
}
Dim larger_chunk(Dim n, int64_t members) {
  const auto exact = exact_div(n, members);
  return exact ? *exact : floor_div(n + Dim(members - 1), members);
}
}  // namespace

std::string node_name(const Node& node) { return node.name.empty() ? node.out().name : node.name; }

Dim sent_elements(const CollectiveCall& call, int64_t members) {
  const Dim all = product(call.dims), others = members - 1;
  auto without = [&](int64_t axis) {  // elements at one index of the axis
    Dims rest = call.dims;
    rest.erase(rest.begin() + axis);
    return product(rest);
  };
  switch (call.kind) {
    case Collective::all_reduce: {  // each chunk but its own, then its own to the others
      const Dim own = larger_chunk(all, members);
      return all - own + others * own;
    }
    case Collective::all_gather:
      return others * larger_chunk(call.dims[size_t(call.join_axis)], members) * without(call.join_axis);
    case Collective::reduce_scatter: {
      const Dim cut = call.dims[size_t(call.cut_axis)];
      return (cut - floor_div(cut, members)) * without(call.cut_axis);
    }
    case Collective::all_to_all: {
      Dims held = call.dims;
      Dim &joined = held[size_t(call.join_axis)], &cut = held[size_t(call.cut_axis)];
      joined = larger_chunk(joined, members), cut = cut - floor_div(cut, members);
      return product(held);
    }
    case Collective::barrier:
      break;
  }
  return 0;
}

void add_collectives(Plan& plan, const Job& job, const DimValues& examples) {
  // First the sums of extents, which each rank's graph has from sum-extents.
  for (const auto& node : job.ranks[0]->nodes)
    if (node->op->collective && call_of(*node).extent)
      plan.collectives.push_back(collective_use(*node, *job.ranks[0], examples));
  for (const auto& node : job.spmd->nodes)
    if (node->op->collective) plan.collectives.push_back(collective_use(*node, *job.spmd, examples));
  Plan::Totals& t = plan.totals;
  for (Collective kind : collective_ops) t.collectives[kind] = 0;
  for (const Plan::CollectiveUse& m : plan.collectives) {
    ++t.collectives[m.call.kind];
    t.collective_bytes_formula = t.collective_bytes_formula + m.bytes_formula;
    t.sent_bytes_formula = t.sent_bytes_formula + m.sent_bytes_formula;
  }
  t.collective_bytes = number_at(t.collective_bytes_formula, examples);
  t.sent_bytes = number_at(t.sent_bytes_formula, examples);
}
}  // namespace optp
