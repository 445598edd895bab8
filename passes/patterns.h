// Name patterns (* and ?) that a flag was given: which values they match, and which of them matched none.
#pragma once
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "llvm/Support/GlobPattern.h"

namespace optp {
class Patterns {
 public:
  static llvm::Expected<Patterns> parse(llvm::ArrayRef<std::string> texts, llvm::StringRef flag);
  bool matches(const Value& v);  // by its name or an alias
  bool matches(llvm::StringRef name);
  llvm::Error unmatched(llvm::StringRef what) const;  // "--tie 'x*': matches no WHAT" for the first that never matched

 private:
  struct One {
    std::string text;
    llvm::GlobPattern glob;
    bool matched = false;
  };
  std::string flag_;
  std::vector<One> patterns_;
};
}  // namespace optp
