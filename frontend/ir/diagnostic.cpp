#include "frontend/ir/diagnostic.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

namespace optp {
char Diagnostic::ID = 0;

namespace {
std::string printable(llvm::StringRef text) {
  std::string out;
  for (unsigned char c : text) {
    if (c < 0x20 || c == 0x7f) {
      out += "\\x";
      out += llvm::hexdigit(c >> 4, true);
      out += llvm::hexdigit(c & 15, true);
    } else {
      out += char(c);
    }
  }
  return out;
}
}  // namespace

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
  std::string text = printable(name.take_front(limit));
  return "'" + text + (name.size() > limit ? "…" : "") + "'";
}
}  // namespace optp
