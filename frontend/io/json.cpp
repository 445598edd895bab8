#include "frontend/io/json.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/Twine.h"

namespace optp {

llvm::Expected<llvm::json::Value> parse_json(llvm::StringRef name, llvm::StringRef text, const Limits& limits) {
  if (int64_t(text.size()) > limits.max_json_bytes)
    return bad_input(name + ": size: expected at most " + llvm::Twine(limits.max_json_bytes) + " bytes, found " +
                     llvm::Twine(text.size()));
  int64_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      if (++depth > limits.max_nesting)
        return bad_input(name + ": nesting: expected at most " + llvm::Twine(limits.max_nesting) +
                         " levels, found more");
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    }
  }
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(text);
  if (!value) return bad_input(name + ": expected JSON, found " + llvm::toString(value.takeError()));
  return value;
}

}  // namespace optp
