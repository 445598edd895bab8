#include "passes/plan/plan_flow.h"

#include <map>
#include <set>

#include "frontend/ir/op.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
using Places = std::set<int64_t>;
constexpr size_t most_places = 8;  // of an entry; where more meet, the nearest

bool is_activation(llvm::StringRef op) { return llvm::is_contained({"relu", "erf", "tanh", "sigmoid"}, op); }
}  // namespace

std::string node_name(const Node& node) { return node.name.empty() ? node.out().name : node.name; }

llvm::json::Array consumers(const Graph& graph, const Value& value) {
  llvm::json::Array out;
  std::set<std::string> seen;
  for (const Use& use : value.uses)
    if (std::string name = node_name(*use.node); seen.insert(name).second) out.push_back(name);
  for (const GraphOutput& o : graph.outputs)
    if (o.value == &value && seen.insert(o.name).second) out.push_back(o.name);
  return out;
}

llvm::json::Array plan_flow(const Job& job) {
  const Graph& whole = *job.whole;
  llvm::json::Array flow;
  std::map<const Value*, Places> from;            // the nearest entries that a value was computed from
  std::map<const Value*, std::string> parameter;  // of which a value is a view or a cast
  for (const auto& node : job.spmd->nodes) {
    if (node->phase != Phase::forward && node->phase != Phase::loss) continue;
    const llvm::StringRef op = node->op->name;
    llvm::json::Array parameters;
    Places places;
    const Places* last = nullptr;
    size_t branches = 0;
    for (const Value* v : node->operands) {
      if (v->is_parameter && v->is_data()) parameter[v] = v->name;
      if (auto p = parameter.find(v); p != parameter.end()) parameters.push_back(p->second);
      const Places& p = from[v];
      places.insert(p.begin(), p.end());
      if (!p.empty() && (!last || p != *last)) ++branches, last = &p;
    }
    if (places.empty() && !parameters.empty() && llvm::is_contained({"cast", "reshape", "transpose"}, op)) {
      parameter[&node->out()] = parameter[node->operands[0]];
      continue;
    }
    while (places.size() > most_places) places.erase(places.begin());
    auto after = [&] {
      return llvm::json::Array(llvm::map_range(places, [](int64_t k) { return llvm::json::Value(k); }));
    };
    const bool join = branches > 1 && llvm::is_contained({"add", "sub", "mul", "div", "sum"}, op);
    const bool shown = !parameters.empty() || op == "softmax" || op == "layer_norm" || is_activation(op) || join ||
                       (op == "contract" && !places.empty());
    if (node->op->collective) {
      flow.push_back(llvm::json::Object{{"collective", node->text("id")}, {"after", after()}});
    } else if (shown && node->phase == Phase::forward && is_float(node->out().type.dtype) &&
               whole.find(node->out().name)) {
      llvm::json::Object entry{{"operator", op},
                               {"parameters", std::move(parameters)},
                               {"result", node->out().name},
                               {"sharding", to_string(*node->out().sharding)},
                               {"after", after()}};
      if (!node->name.empty()) entry["node"] = node->name;
      flow.push_back(std::move(entry));
    } else {
      for (const auto& v : node->results) from[v.get()] = places;
      continue;
    }
    for (const auto& v : node->results) from[v.get()] = {int64_t(flow.size()) - 1};
  }
  return flow;
}
}  // namespace optp
