#include "tools/cli/terminal_text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

namespace optp {
size_t columns(llvm::StringRef text) {
  return size_t(llvm::count_if(text, [](char c) { return uint8_t(c) >> 6 != 2; }));
}
// NOLINTNEXTLINE(performance-unnecessary-value-param): returned where it is wide enough
std::string padded(std::string text, size_t n) {
  const size_t has = columns(text);
  return has < n ? text + std::string(n - has, ' ') : text;
}
std::string fit(std::string text, size_t n) {
  size_t has = columns(text), at = 0;
  if (has <= n) return text;
  for (; has > n - 1 && at < text.size(); --has) do
      ++at;
    while (at < text.size() && uint8_t(text[at]) >> 6 == 2);
  return "…" + text.substr(at);
}
void print_wrapped(llvm::raw_ostream& out, llvm::StringRef text, size_t indent) {
  size_t at = 0;
  llvm::SmallVector<llvm::StringRef> words;
  text.split(words, ' ');
  for (llvm::StringRef word : words) {
    const size_t n = columns(word);
    if (at == 0)
      out.indent(unsigned(indent)), at = indent;
    else if (at + 1 + n > terminal_width)
      out << "\n", out.indent(unsigned(indent + 2)), at = indent + 2;
    else
      out << " ", ++at;
    out << word;
    at += n;
  }
  out << "\n";
}
}  // namespace optp
