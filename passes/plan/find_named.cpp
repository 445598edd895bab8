// A tensor of a plan by what users call it: a whole name, or as much of one as tells it from all others. A node's name
// means its results, a module's its weights and biases, then the values that it makes.
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringMap.h"
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
struct Match {
  FoundTensor tensor;
  Kind kind;
  Fit fit;
};
llvm::Error ambiguous(llvm::StringRef text, llvm::ArrayRef<Match> found) {
  constexpr size_t most = 8;
  std::string list;
  for (size_t k = 0; k < found.size() && k < most; ++k) list += (k ? ", " : "") + called(found[k].tensor);
  if (found.size() > most) list += " and " + std::to_string(found.size() - most) + " more";
  return error(Code::bad_value)
      .what(quoted(text))
      .expected("one tensor")
      .found(llvm::Twine(found.size()) + ": " + list)
      .hint("write more of the name");
}

class Search {
 public:
  Search(const Plan& plan, llvm::StringRef text) : text_(text) {
    llvm::StringSet<> seen;  // an input or output that also is a value or parameter is one tensor
    for_each_tensor(plan, [&](const FoundTensor& t) {
      if (seen.insert(t.tensor->name).second) all_.push_back(t);
    });
    for (const Plan::Parameter& p : plan.parameters) parameters_.insert(&p);
    for (const Plan::Value& v : plan.values) made_.try_emplace(v.name, &v);
  }
  // In the plan's order.
  llvm::Expected<std::vector<Match>> run() const {
    std::vector<Match> out;
    auto pattern = NamePattern::parse(text_);
    if (!pattern) {
      llvm::consumeError(pattern.takeError());  // of an odd name: no name has such a part
      return none();
    }
    bool whole = false;
    for (const FoundTensor& t : all_) {
      const Match m{t, kind_of(t), fit_of(t, *pattern)};
      if (m.fit == Fit::none) continue;
      whole |= m.fit == Fit::whole;
      out.push_back(m);
    }
    if (whole && !pattern->has_wildcards()) llvm::erase_if(out, [](const Match& m) { return m.fit != Fit::whole; });
    // Parts of a name are enough where a pattern stands for several.
    if (pattern->has_wildcards())
      for (Match& m : out) m.fit = Fit::module;
    if (out.empty()) return none();
    return out;
  }

 private:
  Kind kind_of(const FoundTensor& t) const {
    return t.data && parameters_.contains(t.data) ? Kind::parameter : t.placed ? Kind::placed : Kind::value;
  }
  const Plan::Value* made(const FoundTensor& t) const { return made_.lookup(t.tensor->name); }
  Fit fit_of(const FoundTensor& t, const NamePattern& pattern) const {
    const Fit own = pattern.fit(names_of(t));
    const Plan::Value* v = made(t);
    if (!v) return own;
    const Fit by_node = v->node.empty() ? Fit::none : pattern.fit(v->node);
    const Fit by_module = v->module.empty() || pattern.fit(v->module) == Fit::none ? Fit::none : Fit::module;
    return std::max({own, by_node, by_module});
  }
  llvm::Error none() const {
    llvm::SmallVector<llvm::StringRef, 0> names;
    for (const FoundTensor& t : all_) {
      names.append(names_of(t));
      if (const Plan::Value* v = made(t)) names.append({v->node, v->module});
    }
    const std::string near = nearest_name(text_, names);
    return error(Code::tensor_not_found)
        .what("the plan has no tensor " + quoted(text_))
        .about({.tensor = text_.str(), .suggestion = near})
        .hint(near.empty() ? "" : "nearest is " + quoted(near));
  }

  const llvm::StringRef text_;
  std::vector<FoundTensor> all_;
  llvm::DenseSet<const Plan::Constant*> parameters_;
  llvm::StringMap<const Plan::Value*> made_;
};
// Parameters before others, whole names before parts.
std::vector<Match> best_of(llvm::ArrayRef<Match> matches) {
  const auto rank = [](const Match& m) { return std::pair(m.kind, m.fit); };
  auto best = rank(matches[0]);
  for (const Match& m : matches) best = std::max(best, rank(m));
  std::vector<Match> out;
  llvm::copy_if(matches, std::back_inserter(out), [&](const Match& m) { return rank(m) == best; });
  return out;
}
}  // namespace

std::string called(const FoundTensor& t) { return called(t.tensor->name, t.data ? t.data->model_name : ""); }

llvm::Expected<std::vector<FoundTensor>> find_all_named(const Plan& plan, llvm::StringRef text) {
  if (const FoundTensor exact = find_tensor(plan, text)) return std::vector{exact};
  auto found = Search(plan, text).run();
  if (!found) return found.takeError();
  std::vector<FoundTensor> out;
  for (const Match& m : best_of(*found)) out.push_back(m.tensor);
  return out;
}
llvm::Expected<FoundTensor> find_named(const Plan& plan, llvm::StringRef text) {
  if (const FoundTensor exact = find_tensor(plan, text)) return exact;
  auto found = Search(plan, text).run();
  if (!found) return found.takeError();
  const std::vector<Match> best = best_of(*found);
  if (best.size() == 1) return best[0].tensor;
  return ambiguous(text, best);
}
}  // namespace optp
