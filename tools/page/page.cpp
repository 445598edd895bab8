#include "tools/page/page.h"

#include "llvm/Support/FormatVariadic.h"
#include "tools/page/parts.h"
#include "tools/plan_text.h"

namespace optp {
namespace {
// JSON within HTML: "<" occurs in strings only, where \u003c says the same and no "</script" or "<!--" can end the element.
std::string embedded(const llvm::json::Object& plan) {
  std::string out;
  for (char c : llvm::formatv("{0}", llvm::json::Value(llvm::json::Object(plan))).str()) out += c == '<' ? "\\u003c" : std::string(1, c);
  return out;
}
}  // namespace

std::string plan_page(const llvm::json::Object& plan, const PageAdditions& more) {
  using namespace page;
  const Page page(plan);
  std::vector<PageAdditions::Section> sections{{"devices", "What each device holds", devices(page)},
                                               {"layers", "Where the model is cut", layers(page)},
                                               {"atlas", "The weights, cut", atlas(page)},
                                               {"collectives", "What is communicated", collectives(page)},
                                               {"why", "Why", why(page)}};
  sections.insert(sections.end(), more.sections.begin(), more.sections.end());
  sections.push_back({"values", "All tensors", values(page)});

  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
                    escaped(text(object(plan, "model"), "name")) + " on " + grouped(page.devices) + (page.devices == 1 ? " device" : " devices") + "</title>\n<style>" + style + "</style></head>\n<body>\n" +
                    "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\"><defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M0 0V6\"/></pattern></defs></svg>\n<main>\n" + verdict(page);
  for (const PageAdditions::Figure& f : more.figures) out += "<div class=\"figure\"><dt>" + f.title + "</dt><dd><b>" + f.value + "</b><p>" + f.how + "</p></dd></div>";
  out += "</dl>\n<nav aria-label=\"Sections\">";
  for (const auto& s : sections) out += "<a href=\"#" + s.id + "\">" + s.title + "</a> ";
  out += "</nav>\n";
  for (const auto& s : sections) out += "<section id=\"" + s.id + "\"><h2>" + s.title + "</h2>\n" + s.html + "</section>\n";
  out += "<footer>opt-partition " + escaped(text(plan, "tool")) + ". The page holds its plan, the same as plan.json, in the element <code>#plan</code>.</footer>\n</main>\n<script type=\"application/json\" id=\"plan\">" + embedded(plan) + "</script>\n<script>" + script + "</script>\n</body></html>\n";
  return out;
}
}  // namespace optp
