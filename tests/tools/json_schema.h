// JSON Schemas of docs/, and whether a value is what one says.
#pragma once
#include <stdexcept>
#include <string>

#include "frontend/io/json.h"
#include "llvm/ADT/STLExtras.h"
#include "tests/tools/program.h"

namespace optp {

// Of JSON Schema 2020-12 the keywords that ours uses; another one is an error. Gives the first place that does not fit,
// or "".
class Schema {
 public:
  explicit Schema(llvm::json::Value root) : root_(std::move(root)) {}
  // `what` stands at the start of places.
  std::string fault(const llvm::json::Value& value, const std::string& what = "plan") const {
    return fault(*root_.getAsObject(), value, what);
  }

 private:
  static bool is(llvm::StringRef type, const llvm::json::Value& v) {
    if (type == "object") return v.kind() == llvm::json::Value::Object;
    if (type == "array") return v.kind() == llvm::json::Value::Array;
    if (type == "string") return v.kind() == llvm::json::Value::String;
    if (type == "boolean") return v.kind() == llvm::json::Value::Boolean;
    if (type == "integer") return v.getAsInteger().has_value();
    return type == "number" && v.kind() == llvm::json::Value::Number;
  }
  std::string fault(const llvm::json::Object& schema, const llvm::json::Value& v, const std::string& place) const {
    for (const auto& [key, rule] : schema) {
      const llvm::StringRef k = key;
      if (k == "$ref") {
        const auto name = rule.getAsString()->drop_front(llvm::StringRef("#/$defs/").size());
        if (auto f = fault(*root_.getAsObject()->getObject("$defs")->getObject(name), v, place); !f.empty()) return f;
      } else if (k == "type") {
        bool fits = rule.getAsString() && is(*rule.getAsString(), v);
        if (const llvm::json::Array* types = rule.getAsArray())
          for (const llvm::json::Value& t : *types) fits |= is(*t.getAsString(), v);
        if (!fits) return place + ": type";
      } else if (k == "enum") {
        if (!llvm::is_contained(*rule.getAsArray(), v)) return place + ": enum";
      } else if (k == "minimum" || k == "maximum") {
        if (auto n = v.getAsInteger(); n && (k == "minimum" ? *n < *rule.getAsInteger() : *n > *rule.getAsInteger()))
          return place + ": " + k.str();
      } else if (k == "minItems" || k == "maxItems") {
        const auto n = int64_t(v.getAsArray()->size());
        if (k == "minItems" ? n < *rule.getAsInteger() : n > *rule.getAsInteger()) return place + ": " + k.str();
      } else if (k == "required") {
        for (const llvm::json::Value& name : *rule.getAsArray())
          if (!v.getAsObject() || !v.getAsObject()->get(*name.getAsString()))
            return place + ": no " + name.getAsString()->str();
      } else if (k == "properties") {
        for (const auto& [name, sub] : *rule.getAsObject())
          if (const llvm::json::Value* member = v.getAsObject() ? v.getAsObject()->get(name) : nullptr)
            if (auto f = fault(*sub.getAsObject(), *member, place + "." + name.str()); !f.empty()) return f;
      } else if (k == "additionalProperties") {
        for (const auto& [name, member] : *v.getAsObject())
          if (auto f = fault(*rule.getAsObject(), member, place + "." + name.str()); !f.empty()) return f;
      } else if (k == "items") {
        if (const llvm::json::Array* list = v.getAsArray())
          for (size_t i = 0; i < list->size(); ++i)
            if (auto f = fault(*rule.getAsObject(), (*list)[i], place + "[" + std::to_string(i) + "]"); !f.empty())
              return f;
      } else if (k != "$schema" && k != "title" && k != "description" && k != "$defs") {
        return "the schema has a keyword that this test does not know: " + k.str();
      }
    }
    return "";
  }
  llvm::json::Value root_;
};

inline llvm::json::Value json_of(const std::string& path) {
  auto json = parse_json(path, contents(path));
  if (!json) throw std::runtime_error(llvm::toString(json.takeError()));
  return std::move(*json);
}
inline Schema schema_of(const std::string& name) {
  return Schema(json_of(OPTP_TEST_DATA "/../../docs/" + name + ".schema.json"));
}

}  // namespace optp
