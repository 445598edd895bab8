#include "passes/plan/plan_parts.h"

namespace optp {
namespace {
void fill(Plan::Constant& out, const Value& v, Layouts& layouts) {
  out.name = v.name, out.dtype = v.type.dtype, out.dims = v.type.dims;
  out.sharding = *v.sharding, out.cause = v.cause;
  out.aliases.assign(v.aliases.begin(), v.aliases.end());
  out.model_name = v.model_name, out.model_aliases.assign(v.model_aliases.begin(), v.model_aliases.end());
  out.elements = v.data->elements(), out.bytes = out.elements * size_bytes(out.dtype);
  out.layout = layouts.of(out.dtype, out.dims, out.sharding);
}
Plan::Parameter parameter_of(const Value& v, Layouts& layouts) {
  Plan::Parameter out;
  fill(out, v, layouts);
  out.trained = !v.frozen;
  out.transposed_aliases.assign(v.transposed_aliases.begin(), v.transposed_aliases.end());
  return out;
}
void count(Plan::Count& to, const Plan::Constant& t) { ++to.tensors, to.elements += t.elements; }
void add_to_totals(Plan& plan, const Plan::Parameter& p) {
  Plan::Totals& t = plan.totals;
  count(p.trained ? t.trained : t.frozen, p);
  t.parameter_elements += p.elements, t.parameter_bytes += p.bytes;
  if (p.sharding.is_replicated()) t.replicated_bytes += p.bytes;
  for (const Plan::RankShard& s : p.layout->shards) {
    const int64_t elements = s.elements.constant().value_or(0), bytes = s.bytes.constant().value_or(0);
    for (int64_t rank : s.ranks) {
      plan.devices[size_t(rank)].parameter_elements += elements;
      plan.devices[size_t(rank)].parameter_bytes += bytes;
      t.held_elements += elements, t.held_bytes += bytes;
    }
  }
}
void add_to_totals(Plan& plan, const Plan::Constant& c) {
  count(plan.totals.constant, c);
  plan.totals.constant_bytes += c.bytes;
  for (const Plan::RankShard& s : c.layout->shards)
    for (int64_t rank : s.ranks) plan.devices[size_t(rank)].constant_bytes += s.bytes.constant().value_or(0);
}
}  // namespace

void add_data(Plan& plan, const Graph& whole, Layouts& layouts) {
  for (const Value* v : whole.data())
    if (v->is_parameter) {
      plan.parameters.push_back(parameter_of(*v, layouts));
      add_to_totals(plan, plan.parameters.back());
    } else {
      fill(plan.constants.emplace_back(), *v, layouts);
      add_to_totals(plan, plan.constants.back());
    }
}
}  // namespace optp
