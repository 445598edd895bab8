#include "passes/constraints.h"

#include <map>

#include "frontend/ir/diagnostic.h"
#include "passes/patterns.h"

namespace optp {
namespace {
struct Match {
  Value* value;
  Fit fit;
};

// Results of an ONNX operator's last nodes: what it becomes on the way has no name that users know.
bool is_result_of(const Node& node, llvm::function_ref<bool(llvm::StringRef)> named) {
  if (named(node.op->name)) return true;
  if (!named(node.origin)) return false;
  return llvm::none_of(node.results, [&](const auto& r) {
    return llvm::any_of(r->uses, [&](const Use& use) {
      return use.node->origin == node.origin && use.node->name == node.name && !node.name.empty();
    });
  });
}

class Resolver {
 public:
  Resolver(const Graph& graph, const Factors& factors, const Recogniser& recogniser)
      : graph_(graph), factors_(factors), recogniser_(recogniser), values_(graph.values()) {}

  llvm::Error add(const ConstraintLine& line) {
    auto pattern = NamePattern::parse(line.pattern);
    if (!pattern)
      return error(Code::bad_value)
          .at(line.place)
          .what("pattern " + quoted(line.pattern))
          .what(llvm::toString(pattern.takeError()));
    const ConstraintWords words{graph_, factors_, recogniser_, line};
    if (line.of_operators && words.is_of_weights())
      return error(Code::bad_value)
          .at(line.place)
          .what(pattern_text(line) + " is of results, and " + line.sharding + " of weights")
          .expected("a sharding such as [_, _, tensor], or replicate")
          .hint("name the weights, such as layers.*.fc1");
    const auto matches = line.of_operators ? results(*pattern) : named(*pattern, words);
    if (matches.empty()) return unmatched(line);
    if (words.asks_nothing()) {
      resolved_.remarks.push_back(text_of(line) + ": asks nothing of how a weight is cut");
      return llvm::Error::success();
    }
    return constrain(line, words, matches);
  }
  ResolvedConstraints take() {
    for (const auto& [lines, overridden] : overridden_)
      resolved_.remarks.push_back(
          text_of(*lines.first) + ": overrides " + text_of(*lines.second) + " for " + overridden.first +
          (overridden.second > 1 ? " and " + std::to_string(overridden.second - 1) + " more" : ""));
    llvm::erase_if(resolved_.list, [](const ValueConstraint& w) { return !w.value; });
    return std::move(resolved_);
  }

 private:
  std::vector<Match> results(const NamePattern& pattern) const {
    std::vector<Match> out;
    const auto named = [&](llvm::StringRef name) { return !name.empty() && pattern.fit(name) == Fit::whole; };
    for (const auto& node : graph_.nodes)
      if (is_result_of(*node, named))
        for (const auto& r : node->results) out.push_back({r.get(), Fit::whole});
    return out;
  }
  // By names of values, of modules, and of nodes, which stand for their weights, or for their results if they have
  // none.
  std::vector<Match> named(const NamePattern& pattern, const ConstraintWords& words) const {
    std::vector<Match> out;
    bool whole = false;
    llvm::DenseSet<const Value*> of_nodes;
    for (const auto& node : graph_.nodes)
      if (!node->name.empty() && pattern.fit(node->name) >= Fit::part) stand_for(*node, words, of_nodes);
    for (Value* v : values_) {
      Fit fit = pattern.fit(names_of(*v));
      whole |= fit == Fit::whole;
      if (fit == Fit::none && of_nodes.contains(v)) fit = Fit::part;
      if (fit == Fit::none && v->producer && pattern.fit(v->producer->module.name) != Fit::none) fit = Fit::module;
      if (fit != Fit::none) out.push_back({v, fit});
    }
    if (whole && !pattern.has_wildcards()) llvm::erase_if(out, [](const Match& m) { return m.fit != Fit::whole; });
    return out;
  }
  static void stand_for(const Node& node, const ConstraintWords& words, llvm::DenseSet<const Value*>& out) {
    bool any = false;
    for (const Value* v : node.operands)
      if (v->is_data() && v->ndim() >= 2) any = out.insert(v).second || any;
    if (any || words.is_of_weights()) return;
    for (const auto& r : node.results) out.insert(r.get());
  }

  llvm::Error constrain(const ConstraintLine& line, const ConstraintWords& words, llvm::ArrayRef<Match> matches) {
    const Value* other = nullptr;
    bool any = false;
    for (const Match& m : matches) {
      // A sharding of a module is that of its weights, and only weights are held.
      if ((line.held && !m.value->is_data()) ||
          (m.fit == Fit::module && line.entries() && (!m.value->is_data() || m.value->ndim() != line.entries()))) {
        other = m.value;
        continue;
      }
      auto sharding = words.sharding_of(*m.value);
      if (!sharding) return sharding.takeError();
      if (!*sharding) {
        if (!other || m.value->is_data()) other = m.value;
        continue;
      }
      any = true;
      note(line, *m.value, std::move(**sharding));
    }
    if (any) return llvm::Error::success();
    Diagnostic e = error(Code::bad_value).at(line.place).what(quoted(line.pattern) + " = " + quoted(line.sharding));
    if (line.entries())
      return e.what("no weight of " + quoted(line.pattern) + " has " + llvm::Twine(line.entries()) + " dims")
          .about({.tensor = other->name});
    const bool table = line.word == ConstraintWord::table_rows || line.word == ConstraintWord::table_columns;
    return e.what(called(*other) + (table ? " is no embedding table" : " is no layer's weight"))
        .about({.tensor = other->name});
  }
  void note(const ConstraintLine& line, Value& v, Sharding sharding) {
    auto [it, is_new] = of_value_.try_emplace(&v, resolved_.list.size());
    if (!is_new) {
      ValueConstraint& before = resolved_.list[it->second];
      if (!same_placement(before.sharding, sharding) || before.by->held != line.held) {
        auto& [example, count] = overridden_[{&line, before.by}];
        if (count++ == 0) example = called(v);
      }
      before.value = nullptr;
      it->second = resolved_.list.size();
    }
    resolved_.list.push_back({&v, std::move(sharding), &line});
  }

  llvm::Error unmatched(const Constraint& line) {
    if (line.may_match_nothing) {
      resolved_.remarks.push_back(text_of(line) + ": matches nothing");
      return llvm::Error::success();
    }
    llvm::SmallVector<llvm::StringRef, 0> known;  // weights first: of names that are equally near the first is told
    if (!line.of_operators)
      for (const Value* v : values_) known.append(names_of(*v));
    for (const auto& node : graph_.nodes) {
      if (line.of_operators)
        known.append({node->origin, node->op->name});
      else
        known.append({node->name, node->module.name});
    }
    const std::string near = nearest_name(line.pattern, known);
    return error(Code::unmatched_pattern)
        .at(line.place)
        .what("pattern " + quoted(pattern_text(line)) + " matches no " +
              (line.of_operators ? "operator" : "tensor, module or node"))
        .about({.suggestion = near})
        .hint(near.empty() ? "" : "nearest is " + quoted(near));
  }

  const Graph& graph_;
  const Factors& factors_;
  const Recogniser& recogniser_;
  std::vector<Value*> values_;
  ResolvedConstraints resolved_;
  llvm::DenseMap<const Value*, size_t> of_value_;
  // By the later line and the one before it: a value, and how many there are. In the order of lines.
  std::map<std::pair<const Constraint*, const Constraint*>, std::pair<std::string, size_t>> overridden_;
};
}  // namespace

llvm::Expected<ResolvedConstraints> resolve_constraints(const Graph& graph, const Factors& factors,
                                                        const Recogniser& recogniser,
                                                        llvm::ArrayRef<Constraint> constraints) {
  std::vector<ConstraintLine> lines;
  for (const Constraint& line : constraints) lines.push_back(read_line(line));
  Resolver resolver(graph, factors, recogniser);
  for (const ConstraintLine& line : lines)
    if (auto e = resolver.add(line)) return e;
  ResolvedConstraints out = resolver.take();
  out.lines = std::move(lines);
  return out;
}
}  // namespace optp
