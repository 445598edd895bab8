#include "frontend/ir/diagnostic.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

namespace optp {
char Diagnostic::ID = 0;

namespace {
// The length of the valid UTF-8 sequence at the front, and its code point; 0 if there is none (RFC 3629).
size_t sequence_at(llvm::StringRef text, uint32_t& point) {
  const auto byte = [&](size_t k) { return k < text.size() ? uint8_t(text[k]) : 0; };
  const uint8_t first = byte(0);
  const size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  if (length == 0) return 0;
  point = length == 1 ? first : first & (0x7f >> length);
  for (size_t k = 1; k < length; ++k) {
    if (byte(k) >> 6 != 2) return 0;
    point = point << 6 | (byte(k) & 63);
  }
  constexpr uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  return point < least[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : length;
}
// What moves the cursor, ends a line or turns the direction of writing: C0, C1, line separators, bidirectional marks.
bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
         c == 0x200e || c == 0x200f || c == 0xfeff;
}
std::string hex(uint32_t n, int digits) {
  std::string out;
  while (digits-- > 0) out += llvm::hexdigit(n >> (4 * digits) & 15, true);
  return out;
}
}  // namespace

std::string printable(llvm::StringRef text) {
  std::string out;
  while (!text.empty()) {
    uint32_t point = 0;
    const size_t length = sequence_at(text, point);
    if (length == 0)
      out += "\\x" + hex(uint8_t(text[0]), 2);
    else if (is_control(point))
      out += length == 1 ? "\\x" + hex(point, 2) : "\\u" + hex(point, 4);
    else
      out += text.take_front(length);
    text = text.drop_front(std::max<size_t>(length, 1));
  }
  return out;
}

llvm::Error error(Fault fault, const llvm::Twine& message) {
  return llvm::make_error<Diagnostic>(fault, printable(message.str()));
}
llvm::Error with_prefix(const llvm::Twine& prefix, llvm::Error e) {
  Fault fault = Fault::internal;
  std::string text;
  llvm::handleAllErrors(
      std::move(e),
      [&](const Diagnostic& d) {
        fault = d.fault;
        text = d.message;
      },
      [&](const llvm::ErrorInfoBase& other) { text = other.message(); });
  return error(fault, prefix + ": " + text);
}
std::string quoted(llvm::StringRef name) {
  constexpr size_t limit = 200;
  size_t end = std::min(name.size(), limit);
  while (end < name.size() && end > limit - 3 && uint8_t(name[end]) >> 6 == 2) --end;  // not within a character
  return "'" + printable(name.take_front(end)) + (end < name.size() ? "…" : "") + "'";
}
}  // namespace optp
