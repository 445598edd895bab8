// Names as users write them: a whole name, some of its dotted parts (fc1, q_proj.weight, layers.0), with * for any text
// and ? for a character. The one place that knows what a pattern matches.
#pragma once
#include <string>
#include <vector>

#include "frontend/ir/graph.h"

namespace optp {

// What of a name a pattern matched. The values are in order: what fits better is greater.
enum class Fit {
  none,
  module,  // parts of the name that end before it does: layers.0 of model.layers.0.fc1.weight
  part,    // the last parts: fc1.weight
  whole,
};

class NamePattern {
 public:
  static llvm::Expected<NamePattern> parse(llvm::StringRef text);
  bool has_wildcards() const;
  Fit fit(llvm::StringRef name) const;
  Fit fit(llvm::ArrayRef<llvm::StringRef> names) const;  // the best
  // Of many: a text without wildcards that is the whole name of one means that one alone.
  template <typename T>
  std::vector<std::pair<T, Fit>> among(
      llvm::ArrayRef<T> all, llvm::function_ref<llvm::SmallVector<llvm::StringRef, 4>(const T&)> names) const {
    std::vector<std::pair<T, Fit>> out;
    for (const T& each : all)
      if (const Fit f = fit(names(each)); f != Fit::none) out.push_back({each, f});
    if (!has_wildcards() && llvm::any_of(out, [](const auto& found) { return found.second == Fit::whole; }))
      llvm::erase_if(out, [](const auto& found) { return found.second != Fit::whole; });
    return out;
  }

 private:
  struct State;  // at one place: a GlobPattern looks into the text that it was made of
  std::shared_ptr<const State> state_;
};

// The name that a text which matches nothing was perhaps meant to be; empty where none is near.
std::string nearest_name(llvm::StringRef text, llvm::ArrayRef<llvm::StringRef> names);

// What a value is called: its name in the file, aliases, those of the model's source, and the module that makes it.
llvm::SmallVector<llvm::StringRef, 4> names_of(const Value& v);

// Patterns that a flag was given: which data they match, and which of them matched none.
class Patterns {
 public:
  // `all`: the data among which is chosen. `least`: how much of a name must match.
  static llvm::Expected<Patterns> parse(llvm::ArrayRef<std::string> texts, llvm::StringRef flag,
                                        llvm::ArrayRef<Value*> all, Fit least = Fit::module);
  bool matches(const Value& v) const { return chosen_.contains(&v); }
  llvm::Error unmatched(llvm::StringRef what) const;  // "--tie 'x*': matches no WHAT" for the first that never matched

 private:
  std::string flag_;
  std::vector<std::string> unmatched_;
  std::string nearest_;  // of the first of these
  llvm::DenseSet<const Value*> chosen_;
};
}  // namespace optp
