#include "frontend/ir/text_cursor.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim_text.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"

namespace optp {
namespace {
bool is_word(char c) { return llvm::isAlnum(c) || (c & 0x80) || llvm::StringRef("_./:-@$").contains(c); }
bool is_number(char c) { return llvm::isAlnum(c) || llvm::StringRef(".+-").contains(c); }

// What \xNN and \uNNNN stand for; nothing where `rest` is no such escape.
std::optional<std::string> escaped(llvm::StringRef& rest) {
  const bool byte = rest.starts_with("\\x");
  if (!byte && !rest.starts_with("\\u")) return std::nullopt;
  const size_t digits = byte ? 2 : 4;
  uint32_t code = 0;
  const llvm::StringRef number = rest.substr(2, digits);
  if (number.size() != digits || !llvm::all_of(number, llvm::isHexDigit) || number.getAsInteger(16, code))
    return std::nullopt;
  rest = rest.drop_front(2 + digits);
  if (byte) return std::string(1, char(code));
  char utf8[UNI_MAX_UTF8_BYTES_PER_CODE_POINT];
  char* end = utf8;
  if (!llvm::ConvertCodePointToUTF8(code, end)) return std::nullopt;
  return std::string(utf8, end);
}
}  // namespace

std::string in_double_quotes(llvm::StringRef text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return '"' + printable(out) + '"';
}
std::string spelled_name(llvm::StringRef name) {
  // A name's last colon would be read as the one before its type.
  if (!name.empty() && llvm::all_of(name, is_word) && !name.ends_with(":") && printable(name) == name)
    return name.str();
  return in_double_quotes(name);
}

llvm::StringRef TextCursor::begin() {
  rest_ = rest_.ltrim(" \t");
  return last_ = rest_;
}
bool TextCursor::at_end() { return failed_ || begin().empty(); }
bool TextCursor::is_next(llvm::StringRef mark) { return !failed_ && begin().starts_with(mark); }
bool TextCursor::eat(llvm::StringRef mark) {
  if (!is_next(mark)) return false;
  rest_ = rest_.drop_front(mark.size());
  return true;
}
llvm::StringRef TextCursor::next_word() { return failed_ ? llvm::StringRef() : begin().take_while(is_word); }
bool TextCursor::eat_word(llvm::StringRef word) {
  if (next_word() != word) return false;
  rest_ = rest_.drop_front(word.size());
  return true;
}
void TextCursor::must(llvm::StringRef mark) {
  if (!eat(mark)) fail(("'" + mark + "'").str());
}
std::string TextCursor::name(llvm::StringRef what) {
  if (is_next("\"")) return text(what);
  llvm::StringRef word = failed_ ? llvm::StringRef() : rest_.take_while(is_word);
  word.consume_back(":");
  if (word.empty()) fail(what);
  rest_ = rest_.drop_front(failed_ ? 0 : word.size());
  return word.str();
}
std::string TextCursor::text(llvm::StringRef what) {
  std::string out;
  if (!eat("\"")) {
    fail(what);
    return out;
  }
  while (!rest_.empty() && rest_[0] != '"') {
    if (auto character = escaped(rest_)) {
      out += *character;
      continue;
    }
    rest_.consume_front("\\");
    out += rest_.take_front(1);
    rest_ = rest_.drop_front(rest_.empty() ? 0 : 1);
  }
  if (!rest_.consume_front("\"")) fail("'\"' at the end of a text");
  return out;
}
llvm::StringRef TextCursor::number(llvm::StringRef what) {
  llvm::StringRef out = failed_ ? llvm::StringRef() : begin().take_while(is_number);
  if (out.empty()) fail(what);
  rest_ = rest_.drop_front(failed_ ? 0 : out.size());
  return out;
}
int64_t TextCursor::integer(llvm::StringRef what) {
  int64_t n = 0;
  if (number(what).getAsInteger(10, n)) fail_last(what);
  return n;
}
Dim TextCursor::dim() {
  if (failed_) return 0;
  begin();
  auto d = take_dim(rest_, bounds_);
  if (!d || d->is_overflow()) fail_last("an extent such as 768 or past + sequence");
  return d.value_or(0);
}
Dims TextCursor::dims() {
  Dims out;
  must("[");
  while (!failed_ && !is_next("]")) {
    out.push_back(dim());
    if (!eat(",")) break;
  }
  must("]");
  return out;
}

llvm::StringRef TextCursor::next_token() const {
  if (rest_.starts_with("\"")) return rest_.take_front(rest_.find('"', 1) + 1);
  const llvm::StringRef word = rest_.take_while(is_word);
  return word.empty() ? rest_.take_front(1) : word;
}
void TextCursor::fail_with(Diagnostic error, llvm::StringRef at) {
  if (failed_) return;
  failed_ = true;
  const auto column = at.data() - line_.data() + 1;
  error.within(Where{file_place(place_, int64_t(number_)), joined(":", words(llvm::Twine(column)))});
  failure_ = llvm::joinErrors(std::move(failure_), error);
}
void TextCursor::fail(llvm::StringRef expected) {
  begin();
  fail_last(expected);
}
void TextCursor::fail_last(llvm::StringRef expected) {
  if (!failed_) rest_ = last_;
  const llvm::StringRef found = next_token();
  fail_with(error(Code::malformed)
                .expected(expected)
                .found(found.empty() ? std::string("the end of the line") : quoted(found)),
            rest_);
}
llvm::Error TextCursor::take_error() {
  if (!at_end()) fail("the end of the line");
  return std::move(failure_);
}
}  // namespace optp
