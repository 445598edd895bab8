// Caches become inputs, outputs and states, under the names that exporters and runtimes have for them.
#include "frontend/ir/op.h"
#include "passes/cached_decoder.h"

namespace optp {
namespace {
bool is_of_values(const Value& v) {
  return llvm::any_of(v.uses, [](const Use& use) {
    if (use.node->op->is(view_traits)) return is_of_values(use.node->out());
    return use.node->op->is(Trait::product) && is_shared_out(use.node->operand(1 - use.operand));
  });
}
// A model without caches may call outputs of its own so.
std::string unique_output_name(const Graph& graph, const std::string& wanted) {
  const auto is_taken = [&](const std::string& name) {
    return llvm::any_of(graph.outputs, [&](const GraphOutput& o) { return o.name == name; });
  };
  std::string name = wanted;
  for (int n = 1; is_taken(name); ++n) name = wanted + "." + std::to_string(n);
  return name;
}
struct NamedCache {
  TokenCache cache;
  int64_t layer;
  bool is_of_values;
};
}  // namespace

bool is_shared_out(const Value& v) {
  if (!v.producer || v.producer->op->is(Trait::product)) return false;
  const OpDef& op = *v.producer->op;
  if (op.is(Trait::shares_out)) return true;
  // What is added to a share of nothing would be one of something.
  if (op.is(Trait::adds) || op.is(Trait::subtracts) || op.is(Trait::adds_many))
    return llvm::all_of(v.producer->operands, [](const Value* x) { return is_shared_out(*x); });
  return llvm::any_of(v.producer->operands, [](const Value* x) { return is_shared_out(*x); });
}

void name_caches(Graph& decoder, std::vector<TokenCache> caches, const Graph& model) {
  llvm::DenseMap<const Value*, size_t> order;
  for (const auto& node : model.nodes)
    for (const auto& r : node->results) order.try_emplace(r.get(), order.size());
  llvm::sort(caches, [&](const auto& a, const auto& b) { return order.lookup(a.of) < order.lookup(b.of); });
  std::vector<NamedCache> named;
  int64_t keys = 0, values = 0;
  for (const TokenCache& c : caches) {
    const bool of_values = is_of_values(*c.output);
    named.push_back({c, of_values ? values++ : keys++, of_values});
  }
  llvm::stable_sort(named, [](const NamedCache& a, const NamedCache& b) {
    return std::pair(a.layer, a.is_of_values) < std::pair(b.layer, b.is_of_values);
  });
  // In the order of layers, behind the model's own.
  for (const auto& [cache, layer, of_values] : named) {
    const std::string name = std::to_string(layer) + (of_values ? ".value" : ".key");
    decoder.rename(*cache.input, decoder.unique_name("past_key_values." + name));
    const std::string output = unique_output_name(decoder, "present." + name);
    decoder.outputs.push_back({output, cache.output});
    decoder.states.push_back({cache.input->name, output, int64_t(cache.axis)});
    decoder.inputs.erase(llvm::find(decoder.inputs, cache.input));
    decoder.inputs.push_back(cache.input);
  }
}
}  // namespace optp
