#include "tools/plan/tensor_choice.h"

#include <map>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "passes/patterns.h"
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
llvm::Error no_such(const Plan& plan, const TensorChoice& choice) {
  std::string near;
  unsigned best = 8;
  for_each_tensor(plan, [&](const FoundTensor& t) {
    if (choice.name.empty()) return;
    const llvm::StringRef known = t.tensor->name;
    if (unsigned d = known.edit_distance(choice.name, true, best); d < best)
      best = d, near = known.str();
    else if (near.empty() && known.contains(choice.name))
      near = known.str();
  });
  const std::string of_layer = choice.layer ? " of layer " + std::to_string(*choice.layer) : "";
  return error(Code::tensor_not_found)
      .what("the plan has no " + (choice.name.empty() ? "parameter" : "tensor " + quoted(choice.name)) + of_layer)
      .about({.tensor = choice.name, .suggestion = near})
      .hint(near.empty() ? "" : "nearest is " + quoted(near));
}
}  // namespace

llvm::Expected<std::vector<FoundTensor>> choose_tensors(const Plan& plan, const TensorChoice& choice) {
  std::vector<FoundTensor> out;
  if (const FoundTensor exact = find_tensor(plan, choice.name); exact && !choice.layer) return std::vector{exact};
  auto pattern = Patterns::parse({choice.name.empty() ? "*" : choice.name}, choice.flag);
  if (!pattern) return pattern.takeError();
  const auto by_use = choice.layer ? layers_by_use(plan) : std::map<std::string, int64_t>();
  auto is_in_layer = [&](const Plan::Tensor& t) {
    if (!choice.layer) return true;
    const auto own = layer_in(t.name);
    const auto use = by_use.find(t.name);
    return own ? *own == *choice.layer : use != by_use.end() && use->second == *choice.layer;
  };
  const auto is_parameter = [&](const FoundTensor& t) {
    return t.data && t.data >= static_cast<const Plan::Constant*>(plan.parameters.data()) &&
           t.data < static_cast<const Plan::Constant*>(plan.parameters.data() + plan.parameters.size());
  };
  for_each_tensor(plan, [&](const FoundTensor& t) {
    bool fits = pattern->matches(t.tensor->name);
    if (t.data)
      for (const std::string& alias : t.data->aliases) fits |= pattern->matches(alias);
    if (fits && is_in_layer(*t.tensor) && (!choice.name.empty() || is_parameter(t))) out.push_back(t);
  });
  if (out.empty()) return no_such(plan, choice);
  return out;
}

llvm::json::Value tensors_json(const Plan& plan, llvm::ArrayRef<FoundTensor> tensors) {
  llvm::StringSet<> wanted;
  for (const FoundTensor& t : tensors) wanted.insert(t.tensor->name);
  const llvm::json::Value whole = llvm::cantFail(llvm::json::parse(to_text(plan)));
  const llvm::json::Object& top = *whole.getAsObject();
  llvm::json::Array out;
  for (auto [list, kind] : {std::pair{"parameters", "parameter"},
                            {"constants", "constant"},
                            {"inputs", "input"},
                            {"outputs", "output"},
                            {"values", "value"}})
    for (const llvm::json::Value& each : *top.getArray(list)) {
      if (!wanted.contains(*each.getAsObject()->getString("name"))) continue;
      llvm::json::Object entry = *each.getAsObject();
      entry["kind"] = kind;
      if (const auto layout = entry.getInteger("layout")) entry["layout"] = (*top.getArray("layouts"))[size_t(*layout)];
      out.push_back(std::move(entry));
    }
  return llvm::json::Object{{"format", "opt-partition tensors"}, {"version", 1}, {"tensors", std::move(out)}};
}
}  // namespace optp
