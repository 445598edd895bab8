#include "tools/plan/page/page.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
std::string json_text(const llvm::json::Value& value) { return llvm::formatv("{0}", value).str(); }
// JSON within HTML: "<" occurs in strings only, where \u003c says the same and no "</script" or "<!--" can end the
// element.
std::string embedded(const llvm::json::Object& plan) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  llvm::json::OStream json(stream);
  std::vector<llvm::StringRef> members;
  for (const auto& [name, value] : plan) members.push_back(name);
  llvm::sort(members);
  json.object([&] {
    for (llvm::StringRef name : members) {
      json.attributeBegin(name);
      json.value(*plan.get(name));
      json.attributeEnd();
    }
  });
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find('<', at), text.size());
    out.append(text, at, next - at);
    if (next < text.size()) out += "\\u003c";
    at = next + 1;
  }
  return out;
}

llvm::Error of_this_plan(const llvm::json::Object& plan, const PageEvidence& evidence) {
  using namespace page;
  auto differs = [](llvm::StringRef what, llvm::StringRef theirs, llvm::StringRef ours) {
    return error(Fault::usage, what + ": expected that of this plan, " + quoted(ours) + ", found " + quoted(theirs));
  };
  if (const auto* check = evidence.check) {
    const llvm::StringRef model = text(object(plan, "model"), "name");
    if (text(*check, "model") != model) return differs("--check: model", text(*check, "model"), model);
    if (text(*check, "strategy") != text(plan, "strategy"))
      return differs("--check: strategy", text(*check, "strategy"), text(plan, "strategy"));
    if (*check->get("mesh") != *plan.get("mesh"))
      return differs("--check: mesh", json_text(*check->get("mesh")), json_text(*plan.get("mesh")));
    if (text(plan, "job") == "training" && text(*check, "job") != "training")
      return error(Fault::usage, "--check: the plan is of a training step, the check was not (check --train)");
  }
  if (evidence.trace)
    for (const Trace::Run& run : evidence.trace->runs())
      if (int64_t(run.ranks.size()) != number(object(plan, "mesh"), "devices"))
        return differs("--trace: ranks", std::to_string(run.ranks.size()),
                       std::to_string(number(object(plan, "mesh"), "devices")));
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<std::string> plan_page(const llvm::json::Object& plan, const PageEvidence& evidence) {
  using namespace page;
  if (auto e = of_this_plan(plan, evidence)) return e;
  const Page page(plan);
  struct Section {
    std::string id, title, html;
  };
  std::vector<Section> sections;
  if (evidence.changes)
    sections.push_back({"changes", "What changed", changes(page, *evidence.changes, evidence.other)});
  sections.push_back({"devices", "What each device holds", devices(page)});
  sections.push_back({"layers", "Where the model is cut", layers(page)});
  sections.push_back({"atlas", "The weights, cut", atlas(page)});
  sections.push_back({"collectives", "What is communicated", collectives(page)});
  if (evidence.trace) sections.push_back({"timeline", "Where the time goes", timeline(*evidence.trace)});
  if (evidence.check) sections.push_back({"parity", "Is it right", parity(*evidence.check)});
  sections.push_back({"why", "Why", why(page)});
  sections.push_back({"values", "All tensors", values(page)});

  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
      escaped(text(object(plan, "model"), "name")) + " on " + grouped(page.devices) +
      (page.devices == 1 ? " device" : " devices") + "</title>\n<style>" + style + "</style></head>\n<body>\n" +
      "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\"><defs><pattern id=\"hatch\" "
      "width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M0 "
      "0V6\"/></pattern></defs></svg>\n<main>\n" +
      verdict(page, evidence);
  out += "<nav aria-label=\"Sections\">";
  for (const Section& s : sections) out += "<a href=\"#" + s.id + "\">" + s.title + "</a> ";
  out += "</nav>\n";
  for (const Section& s : sections)
    out += "<section id=\"" + s.id + "\"><h2>" + s.title + "</h2>\n" + s.html + "</section>\n";
  out += "<footer>opt-partition " + escaped(text(plan, "tool")) +
         ". The page holds its plan, the same as plan.json, in the element "
         "<code>#plan</code>.</footer>\n</main>\n<script type=\"application/json\" id=\"plan\">" +
         embedded(plan) + "</script>\n<script>" + script + "</script>\n</body></html>\n";
  return out;
}
}  // namespace optp
