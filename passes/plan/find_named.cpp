// A tensor of a plan by what users call it: a whole name, or as much of one as tells it from all others.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringSet.h"
#include "passes/patterns.h"
#include "passes/plan/plan.h"

namespace optp {
namespace {
llvm::SmallVector<llvm::StringRef, 4> names_of(const FoundTensor& t) {
  llvm::SmallVector<llvm::StringRef, 4> out{t.tensor->name};
  if (!t.data) return out;
  out.append(t.data->aliases.begin(), t.data->aliases.end());
  if (!t.data->model_name.empty()) out.push_back(t.data->model_name);
  out.append(t.data->model_aliases.begin(), t.data->model_aliases.end());
  return out;
}
// A module's values come after its parameters, which people mean.
enum class Kind { value, placed, parameter };
llvm::Error ambiguous(llvm::StringRef text, llvm::ArrayRef<FoundTensor> found) {
  constexpr size_t most = 8;
  std::string list;
  for (size_t k = 0; k < found.size() && k < most; ++k) list += (k ? ", " : "") + called(found[k]);
  if (found.size() > most) list += " and " + std::to_string(found.size() - most) + " more";
  return error(Code::bad_value)
      .what(quoted(text))
      .expected("one tensor")
      .found(llvm::Twine(found.size()) + ": " + list)
      .hint("write more of the name");
}
llvm::Error none(llvm::StringRef text, llvm::ArrayRef<FoundTensor> all) {
  llvm::SmallVector<llvm::StringRef, 0> names;
  for (const FoundTensor& t : all) names.append(names_of(t));
  const std::string near = nearest_name(text, names);
  return error(Code::tensor_not_found)
      .what("the plan has no tensor " + quoted(text))
      .about({.tensor = text.str(), .suggestion = near})
      .hint(near.empty() ? "" : "nearest is " + quoted(near));
}
}  // namespace

std::string called(const FoundTensor& t) { return called(t.tensor->name, t.data ? t.data->model_name : ""); }

llvm::Expected<std::vector<FoundTensor>> find_all_named(const Plan& plan, llvm::StringRef text) {
  if (const FoundTensor exact = find_tensor(plan, text)) return std::vector{exact};
  std::vector<FoundTensor> all;
  llvm::StringSet<> seen;  // an input or output that also is a value or parameter is one tensor
  for_each_tensor(plan, [&](const FoundTensor& t) {
    if (seen.insert(t.tensor->name).second) all.push_back(t);
  });
  auto pattern = NamePattern::parse(text);
  if (!pattern) {
    llvm::consumeError(pattern.takeError());  // of an odd name: no name has such a part
    return none(text, all);
  }
  llvm::DenseSet<const Plan::Constant*> parameters;
  for (const Plan::Parameter& p : plan.parameters) parameters.insert(&p);
  std::vector<FoundTensor> best;
  std::pair best_of(Kind::value, Fit::none);
  for (const auto& [t, fit] : pattern->among<FoundTensor>(all, [](const FoundTensor& t) { return names_of(t); })) {
    const Kind kind = t.data && parameters.contains(t.data) ? Kind::parameter : t.placed ? Kind::placed : Kind::value;
    // Parts of a name are enough where a pattern stands for several.
    const std::pair own(kind, pattern->has_wildcards() ? Fit::module : fit);
    if (own < best_of) continue;
    if (own > best_of) best.clear();
    best_of = own;
    best.push_back(t);
  }
  if (best.empty()) return none(text, all);
  return best;
}
llvm::Expected<FoundTensor> find_named(const Plan& plan, llvm::StringRef text) {
  auto found = find_all_named(plan, text);
  if (!found) return found.takeError();
  if (found->size() > 1) return ambiguous(text, *found);
  return found->front();
}
}  // namespace optp
