#include "passes/patterns.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
llvm::Expected<Patterns> Patterns::parse(llvm::ArrayRef<std::string> texts, llvm::StringRef flag) {
  Patterns out;
  out.flag_ = flag.str();
  for (const std::string& text : texts) {
    auto glob = llvm::GlobPattern::create(text);
    if (!glob) return error(Code::bad_value).flag(flag, quoted(text)).what(llvm::toString(glob.takeError()));
    out.patterns_.push_back({text, std::move(*glob)});
  }
  return out;
}
bool Patterns::matches(llvm::StringRef name) {
  bool any = false;
  for (One& p : patterns_)
    if (p.glob.match(name) || p.text == name) any = p.matched = true;
  return any;
}
bool Patterns::matches(const Value& v) {
  bool any = matches(v.name);
  for (const std::string& alias : v.aliases) any |= matches(alias);
  return any;
}
llvm::Error Patterns::unmatched(llvm::StringRef what) const {
  for (const One& p : patterns_)
    if (!p.matched) return error(Code::unmatched_pattern).flag(flag_, quoted(p.text)).what("matches no " + what);
  return llvm::Error::success();
}
}  // namespace optp
