#include "tools/plan/tp_plan.h"

#include <map>
#include <vector>

#include "frontend/ir/op.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
// From the lookup in a stack of weights, one for each expert, the product that takes what was chosen.
const Plan::FlowEntry* product_of_chosen(const Plan& plan, const Plan::FlowEntry& lookup) {
  std::vector<bool> views(plan.flow.size(), false);
  views[size_t(&lookup - plan.flow.data())] = true;
  for (size_t k = 0; k < plan.flow.size(); ++k) {
    const Plan::FlowEntry& e = plan.flow[k];
    if (llvm::none_of(e.after, [&](int64_t before) { return views[size_t(before)]; })) continue;
    const OpDef* op = e.is_collective() ? nullptr : find_op(e.op);
    if (op && op->is(Trait::product)) return &e;
    views[k] = e.is_collective() || (op && op->is(view_traits));
  }
  return nullptr;
}
// Gate and up one after the other, each cut.
bool is_packed(const Plan::Parameter& p) {
  return llvm::any_of(p.sharding.dims, [](const DimSharding& dim) {
    return dim.parts.size() == 1 && dim.parts[0].factors.size() == 2 && dim.parts[0].factors[0].extent == Dim(2) &&
           dim.parts[0].factors[0].axes.empty() && !dim.parts[0].factors[1].axes.empty();
  });
}
// How the operation that uses a weight sees it. A product of a weight that is cut along what it sums gives a sum.
std::string word_for(const Plan& plan, const Plan::FlowEntry& user, const Plan::Parameter& p) {
  const OpDef* op = find_op(user.op);
  if (!op || !op->is(Trait::product | Trait::looks_up)) return "";
  if (p.sharding.is_replicated()) return "replicate";
  const bool is_lookup = op->is(Trait::looks_up);
  if (is_lookup && p.dims.size() == 2) return p.sharding.dims[0].is_split() ? "embedding_rowwise" : "embedding_colwise";
  const Plan::FlowEntry* product = is_lookup ? product_of_chosen(plan, user) : &user;
  if (!product) return "";
  if (product->sharding.is_partial()) return "rowwise";
  const bool gathered = llvm::any_of(plan.collectives, [&](const Plan::CollectiveUse& c) {
    return c.of == product->result && c.call.kind == Collective::all_gather;
  });
  return gathered ? "colwise_gather_output" : is_packed(p) ? "packed_colwise" : "colwise";
}
struct Entry {
  std::string module, word;
};
// A tied table is the head's, too: of its names the one by which the user's module has it.
std::string module_of(const Plan& plan, const Plan::FlowEntry& user, const Plan::Parameter& p) {
  const auto made = llvm::find_if(plan.values, [&](const Plan::Value& v) { return v.name == user.result; });
  if (made != plan.values.end())
    for (const auto* names : {&p.aliases, &p.model_aliases})
      if (llvm::is_contained(*names, made->module + ".weight")) return made->module;
  llvm::StringRef own = model_name(p);
  own.consume_back(".weight");
  return own.str();
}
std::vector<Entry> entries_of(const Plan& plan) {
  std::map<std::string, const Plan::Parameter*> weights;
  std::vector<std::string> names;
  for (const Plan::Parameter& p : plan.parameters) {
    names.push_back(model_name(p));
    if (p.dims.size() >= 2) weights[p.name] = &p;
  }
  const std::string start = common_start(names);
  std::vector<Entry> out;
  for (const Plan::FlowEntry& e : plan.flow)
    for (const std::string& name : e.parameters) {
      const auto at = weights.find(name);
      if (at == weights.end()) continue;
      const std::string word = word_for(plan, e, *at->second);
      if (word.empty()) continue;
      const std::string module = module_of(plan, e, *at->second);
      out.push_back({llvm::StringRef(module).starts_with(start) ? module.substr(start.size()) : module, word});
      weights.erase(at);  // a tied table is told of once, where it is looked up
    }
  return out;
}
}  // namespace

std::string tp_plan_text(const Plan& plan) {
  const std::vector<Entry> entries = entries_of(plan);
  // One entry for all layers, where they are alike.
  std::map<std::string, std::vector<std::string>> words;
  for (const Entry& e : entries) words[folded(e.module)].push_back(e.word);
  std::string out;
  std::vector<std::string> done;
  for (const Entry& e : entries) {
    const std::vector<std::string>& all = words[folded(e.module)];
    const std::string key = llvm::all_equal(all) ? folded(e.module) : e.module;
    if (llvm::is_contained(done, key)) continue;
    done.push_back(key);
    out += llvm::formatv("{0}\n  {1}: \"{2}\"", out.empty() ? "" : ",", llvm::json::Value(key), e.word).str();
  }
  return "{" + out + (out.empty() ? "}\n" : "\n}\n");
}
}  // namespace optp
