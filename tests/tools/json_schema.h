// JSON Schemas of docs/, and whether a value is what one says: Valijson's answer.
#pragma once
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "frontend/io/json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "tests/tools/program.h"

namespace optp {

// Of JSON Schema 2020-12 ours use only what draft 7, the newest that Valijson reads, has as well; "$ref" may point into
// "$defs".
class Schema {
 public:
  explicit Schema(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text);
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(valijson::adapters::NlohmannJsonAdapter(json), schema_);
  }
  // The innermost place that does not fit, or "". `what` stands at the start of places.
  std::string fault(const llvm::json::Value& value, const std::string& what = "plan") const {
    std::string text;
    llvm::raw_string_ostream(text) << value;
    const nlohmann::json json = nlohmann::json::parse(text);
    valijson::ValidationResults results;
    valijson::Validator validator(valijson::Validator::kStrongTypes);
    if (validator.validate(schema_, valijson::adapters::NlohmannJsonAdapter(json), &results)) return "";
    valijson::ValidationResults::Error error;
    results.popError(error);
    std::string place = what;
    for (const std::string& step : llvm::drop_begin(error.context)) place += step;
    return place + ": " + error.description;
  }

 private:
  valijson::Schema schema_;
};

inline llvm::json::Value json_of(const std::string& path) {
  auto json = parse_json(path, contents(path));
  if (!json) throw std::runtime_error(llvm::toString(json.takeError()));
  return std::move(*json);
}
inline Schema schema_of(const std::string& name) {
  return Schema(contents(OPTP_SOURCE "/docs/" + name + ".schema.json"));
}

}  // namespace optp
