// Exporters merge equal initializers: in a fresh model all norms' scales are one tensor of ones, all biases one of
// zeros. They are parameters of their own, with one gradient each; a constant-valued scale or bias used in k places
// becomes k. PyTorch's newer exporter merges all small tensors that are equal and says of which module a node is: what
// several modules use is then as many parameters. A module that is called several times has one (weights are tied by
// tie_weights). The first use keeps the name, the others are named after their node; further calls' names are aliases.
#include "frontend/ir/op.h"
#include "passes/modules.h"
#include "passes/origins.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
namespace {
constexpr int64_t most_merged_elements = 1024;  // of a tensor that the exporter looks for others in

std::string name_of_use(const Use& use) {
  const std::string place = use.node->name.empty() ? use.node->out().name : use.node->name;
  return place + (use.node->op->is(Trait::product) || (use.node->op->is(Trait::normalizes) && use.operand == 1)
                      ? ".weight"
                      : ".bias");
}
bool notes_modules(const Use& use) { return use.node->module.known && !use.node->module.counts_calls; }
bool is_named_after(const Value& v, const Use& use) {
  return notes_modules(use) && llvm::StringRef(v.name).rsplit('.').first == use.node->module.path;
}
bool is_added_or_scales(const Use& use) {
  if (is_scale_or_bias(use)) return true;
  return use.node->op->is(Trait::adds | Trait::multiplies) && use.node->operands.size() == 2 &&
         !use.node->operand(1 - use.operand).is_data();
}
// What a normalization is given that has no scale or bias is no parameter.
bool is_filling(const Use& use) {
  const Value& v = use.node->operand(use.operand);
  return v.is_anonymous && is_from_normalization(*use.node);
}
// A module that uses a constant-valued tensor k times while it is called c times has k / c such parameters: the bias of
// its queries and that of its values, say. Of those that are not constant-valued the contents say that they are one.
struct Own {
  Use first;
  Value* value;
  size_t uses = 0;
};
Value& own_copy(Graph& graph, const Value& v, const Use& use) {
  Value& copy = graph.add_data(name_of_use(use), v.data);
  graph.set_operand(*use.node, use.operand, copy);
  if (const char* usual = usual_name(use); usual && notes_modules(use) && !use.node->module.path.empty())
    copy.model_name = use.node->module.path + "." + usual;
  return copy;
}
std::string remark_of(size_t apart, const std::pair<std::string, std::string>& example) {
  return std::to_string(apart) + (apart == 1 ? " parameter is" : " parameters are") +
         " sharded and counted apart from the one that the exporter merged " + (apart == 1 ? "it" : "them") +
         " with, such as " + example.first + " from " + example.second + " (--keep-shared: as one)";
}
}  // namespace

llvm::Error unshare_parameters(Graph& graph, const PassOptions& options) {
  if (options.keep_shared) return llvm::Error::success();
  std::optional<Modules> modules;
  size_t apart = 0;
  std::pair<std::string, std::string> example;
  for (Value* v : graph.data()) {
    if (!is_float(v->type.dtype) || v->is_literal || v->ndim() == 0 || v->data->elements() < 2 || v->uses.size() < 2)
      continue;
    if (v->data->is_missing()) continue;  // without its bytes sharing can't be told from merging
    const bool constant = is_constant_valued(*v->data);
    // A table is looked up and multiplied with on purpose.
    const bool merged = v->data->elements() <= most_merged_elements && llvm::none_of(v->uses, is_table) &&
                        llvm::all_of(v->uses, notes_modules);
    if (!merged && !(constant && v->ndim() == 1)) continue;
    if (!modules) modules.emplace(graph);
    llvm::SmallVector<Use, 4> uses(v->uses.begin(), v->uses.end());
    auto is_wanted = [&](const Use& use) {
      return (is_added_or_scales(use) || (merged && is_contract_weight(use))) && !(constant && is_filling(use));
    };
    auto is_same = [&](const Use& a, const Use& b) {
      return a.node->op == b.node->op && a.operand == b.operand &&
             modules->same(*a.node, *b.node) == Modules::Same::yes;
    };
    // Whose name it is keeps it.
    llvm::stable_sort(uses,
                      [&](const Use& a, const Use& b) { return is_named_after(*v, a) && !is_named_after(*v, b); });
    llvm::SmallVector<Own, 4> owners;
    for (const Use& use : uses) {
      if (!is_wanted(use) || (!owners.empty() && !options.may_rewrite())) continue;
      // Of the module's parameters the one that this call, the uses being in order, has not used yet.
      Own* own = nullptr;
      size_t known = 0;
      for (Own& o : owners)
        if (is_same(o.first, use)) {
          ++known;
          if (!own || o.uses < own->uses) own = &o;
        }
      if (own && constant && notes_modules(use)) {
        const auto all = size_t(llvm::count_if(uses, [&](const Use& u) { return is_wanted(u) && is_same(u, use); }));
        if (known < std::max<size_t>(1, all / modules->calls(*use.node).value_or(all))) own = nullptr;
      }
      if (own) {
        ++own->uses;
        if (own->value == v) continue;
        own->value->aliases.push_back(name_of_use(use));
        graph.set_operand(*use.node, use.operand, *own->value);
      } else if (owners.empty()) {
        owners.push_back({use, v, 1});
      } else {
        Value& copy = own_copy(graph, *v, use);
        owners.push_back({use, &copy, 1});
        if (apart++ == 0) example = std::pair(called(copy), called(*v));
      }
    }
  }
  if (apart) graph.remarks.push_back({"unshare-parameters", remark_of(apart, example)});
  return llvm::Error::success();
}
}  // namespace optp
