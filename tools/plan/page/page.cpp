#include "tools/plan/page/page.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Base64.h"
#include "llvm/Support/Compression.h"
#include "passes/plan/plan_json.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
// A plan says the same of each layer, and of a training step ten times as much as of inference: compressed it is a
// twentieth, and no text of a model's stands in it.
std::string embedded(const Plan& plan) {
  const std::string text = to_text(plan);
  llvm::SmallVector<uint8_t> packed;
  llvm::compression::zlib::compress(llvm::arrayRefFromStringRef(text), packed,
                                    llvm::compression::zlib::BestSizeCompression);
  return llvm::encodeBase64(packed);
}

// Spaces that do not break, as characters: written as entities they were a twentieth of a large page.
std::string in_utf8(llvm::StringRef html) {
  std::string out;
  out.reserve(html.size());
  while (!html.empty()) {
    const size_t at = html.find('&');
    out += html.take_front(at);
    html = html.drop_front(std::min(at, html.size()));
    if (html.consume_front("&nbsp;"))
      out += "\u00a0";
    else if (html.consume_front("&thinsp;"))
      out += "\u2009";
    else if (html.consume_front("&"))
      out += "&";
  }
  return out;
}

llvm::Error of_this_plan(const Plan& plan, const PageEvidence& evidence) {
  auto differs = [](llvm::StringRef flag, llvm::StringRef what, llvm::StringRef theirs, llvm::StringRef ours) {
    return error(Code::bad_value)
        .flag(flag)
        .what(what)
        .expected("that of this plan, " + quoted(ours))
        .found(quoted(theirs));
  };
  if (const CheckReport* check = evidence.check) {
    if (check->model != plan.model.name) return differs("--check", "model", check->model, plan.model.name);
    if (check->strategy != plan.strategy) return differs("--check", "strategy", check->strategy, plan.strategy);
    if (to_string(check->mesh) != to_string(plan.mesh))
      return differs("--check", "mesh", to_string(check->mesh), to_string(plan.mesh));
    if (plan.is_training() && check->job != to_string(plan.job))
      return error(Code::bad_value)
          .flag("--check")
          .what("the plan is of a training step, the check was not (check --train)");
  }
  const int64_t devices = plan.mesh.devices();
  if (evidence.trace)
    for (const Trace::Run& run : evidence.trace->runs())
      if (int64_t(run.ranks.size()) != devices)
        return differs("--trace", "ranks", std::to_string(run.ranks.size()), std::to_string(devices));
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<std::string> plan_page(const Plan& plan, const PageEvidence& evidence) {
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
  if (evidence.fit) sections.push_back({"fit", "Does it fit", fit(page, *evidence.fit)});
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
      escaped(plan.model.name) + " on " + grouped(page.devices) + (page.devices == 1 ? " device" : " devices") +
      "</title>\n<style>" + style + "</style></head>\n<body>\n" +
      "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\"><defs><pattern id=\"hatch\" "
      "width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M0 "
      "0V6\"/></pattern></defs></svg>\n<main>\n" +
      verdict(page, evidence);
  out += "<nav aria-label=\"Sections\">";
  for (const Section& s : sections) out += "<a href=\"#" + s.id + "\">" + s.title + "</a> ";
  out += "</nav>\n";
  for (const Section& s : sections)
    out += "<section id=\"" + s.id + "\"><h2>" + s.title + "</h2>\n" + in_utf8(s.html) + "</section>\n";
  out += "<footer>opt-partition " + escaped(plan.tool) +
         ". The page holds its plan, the same as plan.json, in the element <code>#plan</code>, as base64 of a zlib "
         "stream.<span class=\"tools\" hidden> <a id=\"save\" download=\"plan.json\">Save plan.json</a></span>"
         "</footer>\n</main>\n<script type=\"text/plain\" id=\"plan\">" +
         embedded(plan) + "</script>\n<script>" + script + "</script>\n</body></html>\n";
  return out;
}
}  // namespace optp
