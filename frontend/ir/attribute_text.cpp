#include "frontend/ir/attribute_text.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/tensor_text.h"

namespace optp {
std::string attribute_text(const Attribute& attribute) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, int64_t>) return std::to_string(v);
        if constexpr (std::is_same_v<T, double>) return exact_text(v);
        if constexpr (std::is_same_v<T, std::string>) return in_double_quotes(v);
        if constexpr (std::is_same_v<T, ContractLoops>) return in_double_quotes(to_string(v));
        if constexpr (std::is_same_v<T, Dim>) return v.text();
        if constexpr (std::is_same_v<T, Dims>) return to_string(v);
        std::string out;
        if constexpr (std::is_same_v<T, llvm::SmallVector<int64_t, 4>>)
          for (int64_t n : v) out += (out.empty() ? "" : ", ") + std::to_string(n);
        if constexpr (std::is_same_v<T, std::vector<std::string>>)
          for (const std::string& word : v) out += (out.empty() ? "" : ", ") + spelled_name(word);
        return "[" + out + "]";
      },
      attribute);
}

namespace {
Attribute read_list(TextCursor& in) {
  llvm::SmallVector<int64_t, 4> integers;
  std::vector<std::string> words;
  while (!in.failed() && !in.is_next("]")) {
    const llvm::StringRef word = in.next_word();
    int64_t n = 0;
    if (words.empty() && !word.getAsInteger(10, n)) {
      integers.push_back(n);
      in.eat_word(word);
    } else {
      if (!integers.empty()) in.fail("an integer, as before");
      words.push_back(in.name("an integer or a word"));
    }
    if (!in.eat(",")) break;
  }
  in.must("]");
  if (words.empty()) return integers;
  return words;
}
Attribute read_loops(TextCursor& in) {
  constexpr llvm::StringLiteral wanted = "loops such as \"m k, k n -> m n\"";
  auto loops = parse_contract(in.text(wanted));
  if (!loops) in.fail_last(wanted);
  return loops.value_or(ContractLoops());
}
Attribute read_attribute(TextCursor& in, const OpDef& op, llvm::StringRef key) {
  if (op.holds_loops(key)) return read_loops(in);
  if (llvm::is_contained(op.extents, key)) {
    if (in.is_next("[")) return in.dims();
    return in.dim();
  }
  if (in.is_next("\"")) return in.text("a text");
  if (in.eat("[")) return read_list(in);
  const llvm::StringRef number = in.number("a number, a text in quotes or a list in brackets");
  int64_t integer = 0;
  double real = 0;
  if (!number.getAsInteger(10, integer)) return integer;
  if (number.getAsDouble(real)) in.fail_last("a number");
  return real;
}
}  // namespace

Attributes read_attributes(TextCursor& in, const OpDef& op) {
  Attributes out;
  do {
    const llvm::StringRef at = in.here();
    const std::string key = in.name("an attribute's name");
    in.must("=");
    if (in.failed()) break;
    Attribute value = read_attribute(in, op, key);
    if (!out.emplace(key, std::move(value)).second)
      in.fail_with(error(Code::duplicate, "a second attribute " + quoted(key)), at);
  } while (in.eat(","));
  in.must("}");
  return out;
}
}  // namespace optp
