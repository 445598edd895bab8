#include "tools/plan/tensor_choice.h"

#include <map>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "passes/plan/plan_json.h"

namespace optp {
namespace {
// The first number that stands alone between dots and slashes: 3 of "model.layers.3.fc1.weight", of "/h.3/attn/MatMul".
std::optional<int64_t> layer_in(llvm::StringRef name) {
  auto is_boundary = [&](size_t at) { return at >= name.size() || name[at] == '.' || name[at] == '/'; };
  for (size_t k = 0; k < name.size(); ++k) {
    if (!llvm::isDigit(name[k]) || (k > 0 && !is_boundary(k - 1))) continue;
    size_t end = k;
    while (end < name.size() && llvm::isDigit(name[end])) ++end;
    int64_t layer = 0;
    if (is_boundary(end) && !name.slice(k, end).getAsInteger(10, layer)) return layer;
    k = end;
  }
  return std::nullopt;
}
// Where a parameter's own name says nothing, the first node that uses it does.
std::map<std::string, int64_t> layers_by_use(const Plan& plan) {
  std::map<std::string, int64_t> out;
  for (const Plan::FlowEntry& entry : plan.flow)
    for (const std::string& parameter : entry.parameters)
      if (const auto layer = layer_in(entry.node)) out.try_emplace(parameter, *layer);
  return out;
}
}  // namespace

llvm::Expected<std::vector<FoundTensor>> choose_tensors(const Plan& plan, const TensorChoice& choice) {
  std::vector<FoundTensor> named;
  if (choice.name.empty()) {
    for (const Plan::Parameter& p : plan.parameters) named.push_back(find_tensor(plan, p.name));
  } else if (!choice.layer && !choice.may_mean_several && !llvm::StringRef(choice.name).contains('*')) {
    auto one = find_named(plan, choice.name);
    if (!one) return one.takeError();
    return std::vector{*one};
  } else {
    auto all = find_all_named(plan, choice.name);
    if (!all) return all.takeError();
    named = std::move(*all);
  }
  if (!choice.layer) return named;
  const auto by_use = layers_by_use(plan);
  llvm::erase_if(named, [&](const FoundTensor& t) {
    auto own = layer_in(t.tensor->name);
    if (!own && t.data) own = layer_in(t.data->model_name);
    const auto use = by_use.find(t.tensor->name);
    if (!own && use != by_use.end()) own = use->second;
    return own != choice.layer;
  });
  if (!named.empty()) return named;
  return error(Code::tensor_not_found)
      .what("the plan has no " + (choice.name.empty() ? "parameter" : "tensor " + quoted(choice.name)) + " of layer " +
            llvm::Twine(*choice.layer))
      .about({.tensor = choice.name});
}

std::string tensors_json(const Plan& plan, llvm::ArrayRef<FoundTensor> tensors) {
  llvm::StringSet<> wanted;
  for (const FoundTensor& t : tensors) wanted.insert(t.tensor->name);
  return tensors_text(plan, [&](const Plan::Tensor& t) { return wanted.contains(t.name); });
}
}  // namespace optp
