#include "frontend/io/json.h"

#include <cmath>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/Twine.h"

namespace optp {

llvm::Expected<llvm::json::Value> parse_json(llvm::StringRef name, llvm::StringRef text, const Limits& limits) {
  if (int64_t(text.size()) > limits.max_json_bytes)
    return error(Code::too_large)
        .in_file(name)
        .what("size")
        .expected("at most " + llvm::Twine(limits.max_json_bytes) + " bytes")
        .found(text.size());
  // A first scan, because the parser recurses, and silently takes the last of duplicate members.
  struct Level {
    bool is_object;
    llvm::DenseSet<llvm::StringRef> keys;
  };
  std::vector<Level> levels;
  bool key_is_next = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      const size_t start = ++i;
      while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
      const llvm::StringRef key = text.slice(start, i);
      if (key_is_next && !levels.empty() && !levels.back().keys.insert(key).second)
        return error(Code::duplicate).in_file(name).what("duplicate member " + quoted(key));
      key_is_next = false;
    } else if (c == '[' || c == '{') {
      if (int64_t(levels.size()) >= limits.max_nesting)
        return error(Code::too_large)
            .in_file(name)
            .what("nesting")
            .expected("at most " + llvm::Twine(limits.max_nesting) + " levels")
            .found("more");
      levels.push_back({c == '{', {}});
      key_is_next = c == '{';
    } else if (c == ']' || c == '}') {
      if (!levels.empty()) levels.pop_back();
      key_is_next = false;
    } else if (c == ',') {
      key_is_next = !levels.empty() && levels.back().is_object;
    }
  }
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(text);
  if (!value)
    return error(Code::not_this_format).in_file(name).expected("JSON").found(llvm::toString(value.takeError()));
  return value;
}

// LLVM says "expected string at (root).model.name". Its Path takes one literal and keeps its segments to itself, so
// that what our own readers report comes as such a sentence, too.
llvm::Error path_error(Code code, llvm::StringRef name, const llvm::json::Path::Root& root) {
  const std::string text = llvm::toString(root.getError());
  auto [what, place] = llvm::StringRef(text).split(" at (root)");
  place.consume_front(".");
  Diagnostic out = error(code).in_file(name);
  if (!place.empty()) out.what(place);
  if (what == "missing value") return out.expected("a value").found("none");
  what.consume_front("expected ");  // as every report begins, LLVM's and ours
  return out.expected(what);
}

llvm::json::Value number_or_null(double x) {
  return std::isfinite(x) ? llvm::json::Value(x) : llvm::json::Value(nullptr);
}

}  // namespace optp
