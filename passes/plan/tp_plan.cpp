// Hugging Face's tensor-parallel plans, as configurations of transformers have them in base_model_tp_plan: a JSON
// object from patterns of modules, with * for a layer's number, to words such as colwise.
#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/ir/diagnostic.h"
#include "passes/plan/job.h"

namespace optp {
namespace {
// Where the member stands in the file: its key, in quotes. The parser keeps no places.
int64_t line_of(llvm::StringRef text, llvm::StringRef key) {
  const size_t at = text.find(("\"" + key + "\"").str());
  return at == llvm::StringRef::npos ? 0 : int64_t(text.take_front(at).count('\n')) + 1;
}
}  // namespace

llvm::Expected<std::vector<Constraint>> read_tp_plan(llvm::StringRef path) {
  auto file = open_input_file(path, 1 << 20);
  if (!file) return file.takeError();
  const llvm::StringRef text = (*file)->text();
  auto json = parse_json(path, text);
  if (!json) return json.takeError();
  const llvm::json::Object* plan = json->getAsObject();
  if (!plan) return error(Code::malformed).in_file(path).expected("an object from patterns to words");
  std::vector<Constraint> out;
  for (const auto& [key, value] : *plan) {
    const Place place = file_place(path, line_of(text, key));
    const auto word = value.getAsString();
    if (!word || word->trim().empty() || key.str().empty())
      return error(Code::malformed).at(place).what(quoted(key.str())).expected("a word such as \"colwise\"");
    out.push_back({key.str(), word->trim().str(), place, /*of_operators=*/false, /*may_match_nothing=*/true});
  }
  // An object has no order, its text has one: a later line counts more.
  llvm::stable_sort(out, [](const Constraint& a, const Constraint& b) { return a.place.line < b.place.line; });
  return out;
}
}  // namespace optp
