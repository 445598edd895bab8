// docs/plan.schema.json holds for the plans that are written, and fails for others.
#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;
using JsonValue = llvm::json::Value;

// Of JSON Schema 2020-12 the keywords that ours uses; another one is an error. Gives the first place that does not fit, or "".
class Schema {
 public:
  explicit Schema(JsonValue root) : root_(std::move(root)) {}
  std::string fault(const JsonValue& value) const { return fault(*root_.getAsObject(), value, "plan"); }

 private:
  static bool is(llvm::StringRef type, const JsonValue& v) {
    if (type == "object") return v.kind() == JsonValue::Object;
    if (type == "array") return v.kind() == JsonValue::Array;
    if (type == "string") return v.kind() == JsonValue::String;
    if (type == "boolean") return v.kind() == JsonValue::Boolean;
    if (type == "integer") return v.getAsInteger().has_value();
    return type == "number" && v.kind() == JsonValue::Number;
  }
  std::string fault(const JsonObject& schema, const JsonValue& v, const std::string& place) const {
    for (const auto& [key, rule] : schema) {
      const llvm::StringRef k = key;
      if (k == "$ref") {
        const auto name = rule.getAsString()->drop_front(llvm::StringRef("#/$defs/").size());
        if (auto f = fault(*root_.getAsObject()->getObject("$defs")->getObject(name), v, place); !f.empty()) return f;
      } else if (k == "type") {
        bool fits = rule.getAsString() && is(*rule.getAsString(), v);
        if (const JsonArray* types = rule.getAsArray())
          for (const JsonValue& t : *types) fits |= is(*t.getAsString(), v);
        if (!fits) return place + ": type";
      } else if (k == "enum") {
        if (!llvm::is_contained(*rule.getAsArray(), v)) return place + ": enum";
      } else if (k == "minimum" || k == "maximum") {
        if (auto n = v.getAsInteger(); n && (k == "minimum" ? *n < *rule.getAsInteger() : *n > *rule.getAsInteger())) return place + ": " + k.str();
      } else if (k == "minItems" || k == "maxItems") {
        const auto n = int64_t(v.getAsArray()->size());
        if (k == "minItems" ? n < *rule.getAsInteger() : n > *rule.getAsInteger()) return place + ": " + k.str();
      } else if (k == "required") {
        for (const JsonValue& name : *rule.getAsArray())
          if (!v.getAsObject() || !v.getAsObject()->get(*name.getAsString())) return place + ": no " + name.getAsString()->str();
      } else if (k == "properties") {
        for (const auto& [name, sub] : *rule.getAsObject())
          if (const JsonValue* member = v.getAsObject() ? v.getAsObject()->get(name) : nullptr)
            if (auto f = fault(*sub.getAsObject(), *member, place + "." + name.str()); !f.empty()) return f;
      } else if (k == "additionalProperties") {
        for (const auto& [name, member] : *v.getAsObject())
          if (auto f = fault(*rule.getAsObject(), member, place + "." + name.str()); !f.empty()) return f;
      } else if (k == "items") {
        if (const JsonArray* list = v.getAsArray())
          for (size_t i = 0; i < list->size(); ++i)
            if (auto f = fault(*rule.getAsObject(), (*list)[i], place + "[" + std::to_string(i) + "]"); !f.empty()) return f;
      } else if (k != "$schema" && k != "title" && k != "description" && k != "$defs") {
        return "the schema has a keyword that this test does not know: " + k.str();
      }
    }
    return "";
  }
  JsonValue root_;
};
JsonValue json_of(const std::string& path) {
  auto json = parse_json(path, contents(path));
  if (!json) throw std::runtime_error(llvm::toString(json.takeError()));
  return std::move(*json);
}
}  // namespace

TEST_CASE("the plan's JSON Schema holds for what partition writes, inference and training, on any number of devices") {
  const Schema schema(json_of(OPTP_TEST_DATA "/../../docs/plan.schema.json"));
  const Sandbox box;
  for (const char* name : {"opt-tiny", "opt-tiny-past", "llama-tiny-dynamo", "origin-125m-structure", "opt-tiny-fp16"})
    for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{{"--devices", "2"}, {"--devices", "5", "--strategy", "origin"}, {"--mesh", "data=2,tensor=2"}, {"--devices", "3", "--train", "--accumulate", "2"}}) {
      std::vector<std::string> words{export_of(name) + "/model.onnx", "-o", "out", "--overwrite"};
      words.insert(words.end(), flags.begin(), flags.end());
      const Result made = box.run(words);
      CAPTURE(name);
      CAPTURE(made.err);
      if (made.code != 0 && flags.size() > 4 && flags[2] == "--train") continue;  // what has no [b, s, v] output is not trained
      REQUIRE(made.code == 0);
      CHECK(schema.fault(json_of(box / "out/plan.json")) == "");
    }
}

TEST_CASE("the plan's JSON Schema does not hold for other files") {
  const Schema schema(json_of(OPTP_TEST_DATA "/../../docs/plan.schema.json"));
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  auto changed = [&](llvm::function_ref<void(JsonObject&)> change) {
    JsonValue plan = json_of(box / "out/plan.json");
    change(*plan.getAsObject());
    return schema.fault(plan);
  };
  CHECK(changed([](JsonObject& plan) { plan["version"] = 2; }) == "plan.version: enum");
  CHECK(changed([](JsonObject& plan) { plan.erase("totals"); }) == "plan: no totals");
  CHECK(changed([](JsonObject& plan) { (*plan.getArray("parameters"))[0].getAsObject()->erase("ranks"); }) == "plan.parameters[0]: no ranks");
  CHECK(changed([](JsonObject& plan) { (*(*plan.getArray("collectives"))[1].getAsObject())["bytes"] = -1; }) == "plan.collectives[1].bytes: minimum");
}
