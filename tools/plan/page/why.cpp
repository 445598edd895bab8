// Why everything lies as it does: what is left whole and what that costs, and the causes that all shardings go back to.
#include <algorithm>

#include "llvm/ADT/STLExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
// What a weight takes over all devices beyond one copy.
int64_t extra(const Object& tensor) {
  int64_t held = 0;
  for (const auto& r : list(tensor, "ranks")) held += number(*r.getAsObject(), "bytes");
  return held - number(tensor, "bytes");
}
std::string left_whole(const Page& page) {
  struct Row {
    const Kind* kind;
    int64_t extra;
  };
  std::vector<Row> rows;
  int64_t all = 0, all_extra = 0, count = 0;
  for (const Kind& k : page.kinds) {
    int64_t more = 0;
    for (const Object* t : k.tensors) more += extra(*t);
    if (!k.whole && more == 0) continue;
    rows.push_back({&k, more});
    all += k.bytes, all_extra += more, count += int64_t(k.tensors.size());
  }
  if (rows.empty()) return "<p>No weight is on two devices.</p>";
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.extra > b.extra; });
  std::string table = "<table class=\"sort\">" +
                      table_head({"weight", "#how many", "shape", "#bytes of all", "#more over all devices", "why"}) +
                      "<tbody>";
  for (const Row& r : rows) {
    const Object& t = *r.kind->tensors[0];
    table += "<tr><td class=\"name\">" + link(text(t, "name"), r.kind->name) + "</td><td class=\"n\">" +
             grouped(int64_t(r.kind->tensors.size())) + "</td><td>" + chip(list(t, "shape"), text(t, "sharding")) +
             "</td><td class=\"n\" data-v=\"" + std::to_string(r.kind->bytes) + "\">" + bytes(r.kind->bytes) +
             "</td><td class=\"n\" data-v=\"" + std::to_string(r.extra) + "\">" + bytes(r.extra) +
             "</td><td class=\"text\">" + escaped(text(object(t, "cause"), "text")) + "</td></tr>\n";
  }
  table += "</tbody><tfoot><tr class=\"sum\"><td>together</td><td class=\"n\">" + grouped(count) +
           "</td><td></td><td class=\"n\">" + bytes(all) + "</td><td class=\"n\">" + bytes(all_extra) +
           "</td><td></td></tr></tfoot></table>";
  return "<p class=\"answer\"><b>" + grouped(count) + " weights of " + bytes(all) +
         " are on more than one device</b>; over all " + grouped(page.devices) + " devices their copies take " +
         bytes(all_extra) + " more than one of each, " +
         percent(double(all_extra), double(number(page.totals, "parameter_bytes"))) + " of the model.</p>" +
         scrolling("Weights on more than one device", table);
}
std::string chain(const Page& page, const Object& tensor) {
  std::string out = link(text(tensor, "name"));
  std::vector<const Object*> seen{&tensor};
  for (size_t k = 0; k < 12; ++k) {
    const llvm::StringRef from = text(object(*seen.back(), "cause"), "from");
    const auto next = page.tensors.find(from.str());
    if (from.empty() || next == page.tensors.end() || llvm::is_contained(seen, next->second)) break;
    out += " ← " + link(from);
    seen.push_back(next->second);
  }
  return out;
}
}  // namespace

std::string why(const Page& page) {
  struct Cause {
    std::string kind, text;
    int64_t parameters = 0, bytes = 0, others = 0;
    const Object* example = nullptr;
  };
  std::map<int64_t, Cause> causes;
  for (const char* name : {"parameters", "constants", "inputs", "outputs", "values"})
    for (const auto& entry : list(page.plan, name)) {
      const Object& o = *entry.getAsObject();
      Cause& c = causes[page.causes.at(cause_key(o))];
      if (!c.example) c.kind = text(object(o, "cause"), "kind").str(), c.text = text(object(o, "cause"), "text").str();
      const bool derived = !text(object(o, "cause"), "from").empty();
      if (!c.example || (derived && text(object(*c.example, "cause"), "from").empty())) c.example = &o;
      if (name == std::string("parameters"))
        ++c.parameters, c.bytes += number(o, "bytes");
      else
        ++c.others;
    }
  std::string out = page.devices > 1 ? "<h3>Weights on more than one device</h3>" + left_whole(page) : "";
  out +=
      "<h3>Causes</h3><p>Every tensor's row <a href=\"#values\">below</a> links here and to the tensor that its "
      "sharding was propagated from; following these links ends at a seed (the strategy's), a constraint (yours) or a "
      "default (nothing asked for a cut).</p>";
  std::string table = "<table>" +
                      table_head({"#no.", "kind", "because", "#weights", "#their bytes", "#other tensors",
                                  "an example, and what it came from"}) +
                      "<tbody>";
  for (const auto& [k, c] : causes)
    table += "<tr id=\"why-" + std::to_string(k) + "\"><td class=\"n\">" + std::to_string(k) + "</td><td>" +
             escaped(c.kind) + "</td><td class=\"text\">" + escaped(c.text) + "</td><td class=\"n\">" +
             grouped(c.parameters) + "</td><td class=\"n\">" + bytes(c.bytes) + "</td><td class=\"n\">" +
             grouped(c.others) + "</td><td class=\"name\">" + chain(page, *c.example) + "</td></tr>\n";
  out += scrolling("Causes", table + "</tbody></table>");
  if (const Array& remarks = list(page.plan, "remarks"); !remarks.empty()) {
    out += "<h3>Remarks</h3><ul>";
    constexpr size_t most_remarks = 200;
    for (size_t k = 0; k < remarks.size() && k < most_remarks; ++k)
      out += "<li>" + escaped(text(*remarks[k].getAsObject(), "text")) + "</li>";
    if (remarks.size() > most_remarks)
      out += "<li>and " + grouped(int64_t(remarks.size() - most_remarks)) + " more in the plan below</li>";
    out += "</ul>";
  }
  return out;
}
}  // namespace optp::page
