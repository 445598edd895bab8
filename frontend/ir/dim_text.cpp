#include "frontend/ir/dim_text.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/dim.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"

namespace optp {
namespace {
bool begins_word(char c) { return llvm::isAlpha(c) || c == '_' || c == '.' || c == ':' || (c & 0x80); }
bool continues_word(char c) { return begins_word(c) || llvm::isDigit(c) || c == '-'; }
}  // namespace

std::string spelled(llvm::StringRef name) {
  const bool utf8 = llvm::json::isUTF8(name);
  if (utf8 && !name.empty() && begins_word(name[0]) && llvm::all_of(name, continues_word)) return name.str();
  std::string out = "'";
  for (char c : name) {
    if (c == '\'' || c == '\\') out += '\\';
    if (uint8_t(c) < 0x20 || c == 0x7f || ((c & 0x80) && !utf8))
      out += "\\x" + llvm::utohexstr(uint8_t(c), /*LowerCase=*/true, 2);
    else
      out += c;
  }
  return out + "'";
}

namespace {
// expression := term (('+' | '-') term)*   term := factor (('*' | '/') factor)*   '/' is floor division
// A '-' in a word is a character of it: a difference has a blank before its sign.
struct DimParser {
  llvm::StringRef rest;
  const DimBounds& bounds;
  int depth = 0;
  void space() { rest = rest.ltrim(); }
  bool eat(char c) {
    space();
    if (rest.empty() || rest[0] != c) return false;
    rest = rest.drop_front();
    return true;
  }
  // Behind a minus: the lowest number has no positive one.
  std::optional<Dim> negative_number() {
    int64_t n = 0;
    const llvm::StringRef digits = rest.take_while(llvm::isDigit);
    if (digits.empty() || llvm::StringRef("-" + digits.str()).getAsInteger(10, n)) return std::nullopt;
    rest = rest.drop_front(digits.size());
    return Dim(n);
  }
  std::optional<Dim> quoted_name() {
    std::string name;
    while (!rest.empty() && rest[0] != '\'') {
      if (uint8_t code = 0; rest.consume_front("\\x")) {
        if (rest.take_front(2).getAsInteger(16, code)) return std::nullopt;
        name += char(code);
        rest = rest.drop_front(2);
        continue;
      }
      rest.consume_front("\\");
      if (rest.empty()) return std::nullopt;
      name += rest[0];
      rest = rest.drop_front();
    }
    if (!eat('\'') || name.empty()) return std::nullopt;
    return bounds.symbol(name);
  }
  std::optional<Dim> factor() {
    space();
    if (rest.empty() || ++depth > 32) return std::nullopt;
    struct Leave {
      int& d;
      ~Leave() { --d; }
    } leave{depth};
    if (eat('(')) {
      auto d = sum();
      if (!d || !eat(')')) return std::nullopt;
      return d;
    }
    if (eat('-')) {
      space();
      if (auto n = negative_number()) return n;
      auto d = factor();
      if (!d) return std::nullopt;
      return Dim(-1) * *d;
    }
    if (llvm::isDigit(rest[0])) {
      int64_t n = 0;
      if (rest.consumeInteger(10, n)) return std::nullopt;
      return Dim(n);
    }
    if (eat('\'')) return quoted_name();
    if (!begins_word(rest[0])) return std::nullopt;
    llvm::StringRef word = rest.take_while(continues_word);
    rest = rest.drop_front(word.size());
    if (!rest.starts_with("(")) return bounds.symbol(word);
    eat('(');
    auto a = sum();
    if (!a || !eat(',')) return std::nullopt;
    if (word == "part" || word == "start") {
      AxisUses axes;
      do {
        space();
        llvm::StringRef axis =
            rest.take_while([](char c) { return llvm::isAlnum(c) || llvm::StringRef("_/.").contains(c); });
        rest = rest.drop_front(axis.size());
        axes.push_back(axis_use(axis));
      } while (eat(','));
      if (!eat(')')) return std::nullopt;
      return word == "part" ? Dim::part(*a, axes) : Dim::start(*a, axes);
    }
    auto b = sum();
    if (!b || !eat(')')) return std::nullopt;
    if (word == "floor") return floor_div(*a, *b);
    if (word == "min" || word == "Min") return minimum(*a, *b);
    if (word == "max" || word == "Max") return maximum(*a, *b);
    return std::nullopt;
  }
  std::optional<Dim> term() { return term(factor()); }
  std::optional<Dim> term(std::optional<Dim> d) {
    while (d) {
      if (eat('*')) {
        auto e = factor();
        if (!e) return std::nullopt;
        d = *d * *e;
      } else if (rest.ltrim().starts_with("/")) {
        space();
        while (eat('/')) {
        }
        auto e = factor();
        if (!e || e->is(0)) return std::nullopt;
        d = floor_div(*d, *e);
      } else {
        break;
      }
    }
    return d;
  }
  std::optional<Dim> sum() {
    auto d = term();
    while (d) {
      const bool plus = eat('+'), minus = !plus && eat('-');
      if (!plus && !minus) break;
      space();
      // Of a quotient the minus is not the numerator's.
      const bool divides = rest.ltrim("0123456789").ltrim().starts_with("/");
      const auto negative = minus && !divides ? negative_number() : std::nullopt;
      auto e = negative ? term(negative) : term();
      if (!e) return std::nullopt;
      d = plus || negative ? *d + *e : *d - *e;
    }
    return d;
  }
};
}  // namespace

std::optional<Dim> take_dim(llvm::StringRef& text, const DimBounds& bounds) {
  DimParser parser{text, bounds};
  auto d = parser.sum();
  text = parser.rest;
  return d;
}
llvm::Expected<Dim> parse_dim(llvm::StringRef text, const DimBounds& bounds) {
  llvm::StringRef rest = text;
  auto d = take_dim(rest, bounds);
  if (!d || !rest.trim().empty() || d->is_overflow())
    return error(Code::shape_mismatch).expected("an extent such as 'past + sequence'").found(quoted(text));
  return *d;
}
}  // namespace optp
