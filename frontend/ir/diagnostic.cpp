#include "frontend/ir/diagnostic.h"

#include <algorithm>

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

Place words(const llvm::Twine& text) { return {.name = text.str()}; }
Place file_place(const llvm::Twine& path, int64_t line) {
  return {.kind = Place::Kind::file, .name = path.str(), .line = line};
}
Place quoted_file_place(const llvm::Twine& path) {
  return {.kind = Place::Kind::file, .name = path.str(), .quotes = true};
}
Place flag_place(const llvm::Twine& flag, const llvm::Twine& value) {
  return {.kind = Place::Kind::flag, .name = flag.str(), .detail = value.str()};
}
Place tensor_place(const llvm::Twine& noun, const llvm::Twine& name) {
  return {.kind = Place::Kind::tensor, .name = name.str(), .noun = noun.str()};
}

Place joined(llvm::StringRef joint, Place place) {
  place.joint = joint.str();
  return place;
}

namespace {
// Does the name tell it already? /decoder/layers.0/fc1/MatMul is of decoder.layers.0.fc1.
bool tells(llvm::StringRef name, llvm::StringRef source) {
  if (source.empty()) return true;
  std::string dotted = name.str();
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  return llvm::StringRef(dotted).contains(source);
}
// Escaped and cut all the same.
std::string unquoted(llvm::StringRef name) { return llvm::StringRef(quoted(name)).drop_front().drop_back().str(); }
}  // namespace

std::string Place::text() const {
  switch (kind) {
    case Kind::words:
      return name;
    case Kind::file:
      return (quotes ? quoted(name) : name) + (line ? ":" + std::to_string(line) : "");
    case Kind::flag:
      return name + (detail.empty() ? "" : " " + detail);
    case Kind::node:
      return noun + " " + quoted(name) + " (" + unquoted(detail) +
             (tells(name, source) ? "" : " of " + unquoted(source)) + ")";
    case Kind::tensor:
      return noun + " " + quoted(name) + (tells(name, source) ? "" : " (" + unquoted(source) + ")");
    case Kind::dim:
      return noun == "dim" ? "dim " + quoted(name) : noun + (name.empty() ? "" : " (" + name + ")");
  }
  return "";
}
std::string to_string(const Where& places) {
  std::string out;
  for (const Place& p : places) out += (out.empty() ? "" : p.joint) + p.text();
  return out;
}

std::string Diagnostic::message() const {
  std::string out = to_string(places_);
  if (!expected_.empty()) out += (out.empty() ? "" : ": ") + ("expected " + expected_);
  if (!found_.empty()) out += (out.empty() ? "" : expected_.empty() ? ": " : ", ") + ("found " + found_);
  if (!suggestion_.empty()) out += "; did you mean " + suggestion_ + "?";
  if (!hint_.empty()) out += (suggestion_.empty() ? "; " : " ") + hint_;
  return printable(out);
}
Parts Diagnostic::parts() const {
  Parts out;
  const auto set = [](std::string& part, const std::string& value) {
    if (part.empty()) part = printable(value);
  };
  for (const Place& p : places_) switch (p.kind) {
      case Place::Kind::words:
        break;
      case Place::Kind::file:
        if (out.file.empty()) out.line = p.line;
        set(out.file, p.name);
        break;
      case Place::Kind::flag:
        set(out.flag, p.name);
        break;
      case Place::Kind::node:
        if (out.node.empty()) set(out.op, p.detail), set(out.module, p.source);
        set(out.node, p.name);
        break;
      case Place::Kind::tensor:
        if (out.tensor.empty()) set(out.model_name, p.source);
        set(out.tensor, p.name);
        break;
      case Place::Kind::dim:
        set(out.dim, p.name);
        break;
    }
  if (out.file.empty()) out.line = about_.line;
  if (out.node.empty()) set(out.op, about_.op), set(out.module, about_.module);
  if (out.tensor.empty()) set(out.model_name, about_.model_name);
  set(out.expected, expected_), set(out.found, found_), set(out.suggestion, suggestion_), set(out.hint, hint_);
  for (auto part : {&Parts::file, &Parts::flag, &Parts::node, &Parts::tensor, &Parts::dim, &Parts::expected,
                    &Parts::found, &Parts::suggestion, &Parts::hint})
    set(out.*part, about_.*part);
  return out;
}

Diagnostic& Diagnostic::at(Place place) {
  places_.push_back(std::move(place));
  return *this;
}
Diagnostic& Diagnostic::at(const Where& places) {
  places_.insert(places_.end(), places.begin(), places.end());
  return *this;
}
Diagnostic& Diagnostic::dim(const llvm::Twine& name) {
  return at({.kind = Place::Kind::dim, .name = name.str(), .noun = "dim"});
}
Diagnostic& Diagnostic::dim_of(size_t k, const llvm::Twine& name) {
  return at({.kind = Place::Kind::dim, .name = name.str(), .noun = "dim " + std::to_string(k), .joint = ", "});
}
Diagnostic& Diagnostic::says(const llvm::Twine& verb) { return at({.name = verb.str(), .joint = " "}); }
Diagnostic& Diagnostic::expected(const llvm::Twine& expected) { return expected_ = expected.str(), *this; }
Diagnostic& Diagnostic::found(const llvm::Twine& found) { return found_ = found.str(), *this; }
Diagnostic& Diagnostic::did_you_mean(const llvm::Twine& word) { return suggestion_ = word.str(), *this; }
Diagnostic& Diagnostic::hint(const llvm::Twine& way_out) { return hint_ = way_out.str(), *this; }
Diagnostic& Diagnostic::about(Parts parts) { return about_ = std::move(parts), *this; }
Diagnostic& Diagnostic::name_sources(llvm::function_ref<std::string(const Place&)> source) {
  for (Place& p : places_)
    if ((p.kind == Place::Kind::node || p.kind == Place::Kind::tensor) && p.source.empty()) p.source = source(p);
  if (!about_.node.empty() && about_.module.empty())
    about_.module = source({.kind = Place::Kind::node, .name = about_.node});
  if (!about_.tensor.empty() && about_.model_name.empty()) about_.model_name = source(tensor_place("", about_.tensor));
  return *this;
}
Diagnostic& Diagnostic::within(const Where& outer) {
  places_.insert(places_.begin(), outer.begin(), outer.end());
  return *this;
}

llvm::Error within(const Where& places, llvm::Error e) {
  llvm::Error out = llvm::Error::success();
  llvm::handleAllErrors(
      std::move(e), [&](Diagnostic& d) { out = llvm::joinErrors(std::move(out), std::move(d.within(places))); },
      [&](const llvm::ErrorInfoBase& other) {
        out = llvm::joinErrors(std::move(out), error(Code::bug, other.message()).within(places));
      });
  return out;
}
llvm::Error with_sources(llvm::Error e, llvm::function_ref<std::string(const Place&)> source) {
  return llvm::handleErrors(std::move(e), [&](std::unique_ptr<Diagnostic> d) -> llvm::Error {
    d->name_sources(source);
    return llvm::Error(std::move(d));
  });
}
Diagnostic take_diagnostic(llvm::Error e) {
  std::optional<Diagnostic> out;
  llvm::handleAllErrors(
      std::move(e),
      [&](Diagnostic& d) {
        if (!out) out = std::move(d);
      },
      [&](const llvm::ErrorInfoBase& other) {
        if (!out) out = error(Code::bug, other.message());
      });
  return out ? std::move(*out) : error(Code::bug, "failed");
}
std::string in_words(llvm::ArrayRef<llvm::StringRef> names, llvm::StringRef before_last) {
  std::string out;
  for (size_t k = 0; k < names.size(); ++k) {
    if (k > 0) out += k + 1 == names.size() ? before_last.str() : ", ";
    out += names[k];
  }
  return out;
}
std::string quoted(llvm::StringRef name) {
  constexpr size_t limit = 200;
  size_t end = std::min(name.size(), limit);
  while (end < name.size() && end > limit - 3 && uint8_t(name[end]) >> 6 == 2) --end;  // not within a character
  return "'" + printable(name.take_front(end)) + (end < name.size() ? "…" : "") + "'";
}
}  // namespace optp
