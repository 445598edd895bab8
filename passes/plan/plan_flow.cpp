#include <map>
#include <set>

#include "frontend/ir/op.h"
#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
using Places = std::set<int64_t>;
constexpr size_t most_places = 8;  // of an entry; where more meet, the nearest

// A parameter seen through one of these is still that parameter.
constexpr Trait same_numbers = Trait::converts | Trait::reshapes | Trait::permutes;
// Shown wherever they are.
constexpr Trait landmarks = Trait::shares_out | Trait::normalizes | Trait::activates;
// Shown where branches of the model come together.
constexpr Trait joints = Trait::adds | Trait::subtracts | Trait::multiplies | Trait::divides | Trait::adds_many;

class FlowBuilder {
 public:
  explicit FlowBuilder(const Graph& whole) : whole_(whole) {}
  void add(const Node& node) {
    const Operands in = operands_of(node);
    if (in.places.empty() && !in.parameters.empty() && node.op->is(same_numbers)) {
      parameter_[&node.out()] = parameter_[node.operands[0]];
      return;
    }
    Plan::FlowEntry entry;
    entry.after.assign(in.places.begin(), in.places.end());
    if (node.op->collective) {
      entry.collective = node.text("id").str();
      // Put together for its user, it is that parameter still.
      if (in.places.empty() && in.parameters.size() == 1 && node.operands.size() == 1)
        parameter_[&node.out()] = in.parameters[0];
    } else if (is_shown(node, in)) {
      entry.op = node.op->name, entry.node = node.name, entry.result = node.out().name;
      entry.parameters = in.parameters, entry.sharding = *node.out().sharding;
    } else {
      for (const auto& v : node.results) from_[v.get()] = in.places;
      return;
    }
    for (const auto& v : node.results) from_[v.get()] = {int64_t(flow_.size())};
    flow_.push_back(std::move(entry));
  }
  std::vector<Plan::FlowEntry> take() { return std::move(flow_); }

 private:
  struct Operands {
    std::vector<std::string> parameters;
    Places places;
    size_t branches = 0;  // that come from different places
  };
  Operands operands_of(const Node& node) {
    Operands out;
    const Places* last = nullptr;
    for (const Value* v : node.operands) {
      if (v->is_parameter && v->is_data()) parameter_[v] = v->name;
      if (auto p = parameter_.find(v); p != parameter_.end()) out.parameters.push_back(p->second);
      const Places& p = from_[v];
      out.places.insert(p.begin(), p.end());
      if (!p.empty() && (!last || p != *last)) ++out.branches, last = &p;
    }
    while (out.places.size() > most_places) out.places.erase(out.places.begin());
    return out;
  }
  bool is_shown(const Node& node, const Operands& in) const {
    const OpDef& op = *node.op;
    if (node.phase != Phase::forward || !is_float(node.out().type.dtype) || !whole_.find(node.out().name)) return false;
    return !in.parameters.empty() || op.is(landmarks) || (in.branches > 1 && op.is(joints)) ||
           (op.is(Trait::product) && !in.places.empty());
  }

  const Graph& whole_;
  std::vector<Plan::FlowEntry> flow_;
  std::map<const Value*, Places> from_;            // the nearest entries that a value was computed from
  std::map<const Value*, std::string> parameter_;  // of which a value is a view or a cast
};
}  // namespace

std::vector<Plan::FlowEntry> plan_flow(const Job& job) {
  FlowBuilder builder(*job.whole);
  for (const auto& node : job.spmd->nodes)
    if (node->phase == Phase::forward || node->phase == Phase::loss) builder.add(*node);
  return builder.take();
}
}  // namespace optp
