#include "frontend/ir/diagnostic_json.h"

#include <iterator>

#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
using llvm::json::Object;

struct TextPart {
  const char* member;
  std::string Parts::* part;
};
constexpr TextPart text_parts[] = {
    {"file", &Parts::file},         {"flag", &Parts::flag},
    {"node", &Parts::node},         {"op", &Parts::op},
    {"tensor", &Parts::tensor},     {"dim", &Parts::dim},
    {"hint", &Parts::hint},         {"found", &Parts::found},
    {"expected", &Parts::expected}, {"suggestion", &Parts::suggestion},
    {"module", &Parts::module},     {"model_name", &Parts::model_name},
};
void write(const Parts& parts, Object& out) {
  for (const TextPart& p : text_parts)
    if (!(parts.*p.part).empty()) out[p.member] = printable(parts.*p.part);
  if (parts.line) out["line"] = parts.line;
}
void read(const Object& o, Parts& parts) {
  for (const TextPart& p : text_parts)
    if (auto text = o.getString(p.member)) parts.*p.part = text->str();
  parts.line = o.getInteger("line").value_or(0);
}

constexpr const char* kinds[] = {"words", "file", "flag", "node", "tensor", "dim"};
Object write(const Place& p) {
  Object out{{"kind", kinds[size_t(p.kind)]}, {"name", printable(p.name)}, {"joint", p.joint}};
  if (!p.noun.empty()) out["noun"] = printable(p.noun);
  if (!p.detail.empty()) out["detail"] = printable(p.detail);
  if (p.line) out["line"] = p.line;
  if (p.quotes) out["quotes"] = true;
  if (!p.source.empty()) out["source"] = printable(p.source);
  return out;
}
std::optional<Place> read_place(const llvm::json::Value& value) {
  const Object* o = value.getAsObject();
  if (!o) return std::nullopt;
  const auto kind = o->getString("kind"), name = o->getString("name"), joint = o->getString("joint");
  const auto known = llvm::find(kinds, kind.value_or(""));
  if (known == std::end(kinds) || !name || !joint) return std::nullopt;
  return Place{.kind = Place::Kind(known - std::begin(kinds)),
               .name = name->str(),
               .noun = o->getString("noun").value_or("").str(),
               .detail = o->getString("detail").value_or("").str(),
               .line = o->getInteger("line").value_or(0),
               .quotes = o->getBoolean("quotes").value_or(false),
               .joint = joint->str(),
               .source = o->getString("source").value_or("").str()};
}
}  // namespace

Object error_object(const Diagnostic& d, int exit_code) {
  Object out{{"severity", "error"}, {"code", row_of(d.code()).name}, {"exit", exit_code}, {"message", d.message()}};
  write(d.parts(), out);
  return out;
}

struct DiagnosticJson {
  static Object write_whole(const Diagnostic& d) {
    llvm::json::Array places;
    for (const Place& p : d.places_) places.push_back(write(p));
    Object about, own;
    write(d.about_, about);
    write({.expected = d.expected_, .found = d.found_, .suggestion = d.suggestion_, .hint = d.hint_}, own);
    return Object{{"code", row_of(d.code_).name},
                  {"places", std::move(places)},
                  {"about", std::move(about)},
                  {"sentence", std::move(own)}};
  }
  static std::optional<Diagnostic> read_whole(const Object& o) {
    const ErrorCode* code = find_error_code(o.getString("code").value_or(""));
    const llvm::json::Array* places = o.getArray("places");
    const Object *about = o.getObject("about"), *own = o.getObject("sentence");
    if (!code || !places || !about || !own) return std::nullopt;
    Diagnostic out(code->code);
    for (const llvm::json::Value& value : *places) {
      std::optional<Place> place = read_place(value);
      if (!place) return std::nullopt;
      out.at(std::move(*place));
    }
    read(*about, out.about_);
    Parts parts;
    read(*own, parts);
    out.expected_ = parts.expected, out.found_ = parts.found;
    out.suggestion_ = parts.suggestion, out.hint_ = parts.hint;
    return out;
  }
};
llvm::json::Value write_diagnostic(const Diagnostic& d) { return DiagnosticJson::write_whole(d); }
std::optional<Diagnostic> read_diagnostic(const llvm::json::Value& value) {
  const Object* o = value.getAsObject();
  return o ? DiagnosticJson::read_whole(*o) : std::nullopt;
}
}  // namespace optp
