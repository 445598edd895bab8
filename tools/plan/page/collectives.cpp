// Everything that is communicated: each meeting, sums by phase, and what one token moves.
#include <algorithm>

#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr size_t most_open = 48;  // rows shown without a click

std::string groups_text(const Object& c) {
  std::string axes, groups;
  for (const auto& a : list(c, "axes")) axes += (axes.empty() ? "" : ", ") + a.getAsString().value_or("").str();
  const Array& all = list(c, "groups");
  for (size_t k = 0; k < all.size() && k < 4; ++k) {
    const Array* g = all[k].getAsArray();
    if (!g || g->empty()) continue;
    auto rank = [&](size_t n) { return extent_text((*g)[n]); };
    groups += groups.empty() ? "" : "; ";
    if (g->size() <= 4)
      for (size_t n = 0; n < g->size(); ++n) groups += (n ? " " : "") + rank(n);
    else
      groups += rank(0) + " " + rank(1) + " … " + rank(g->size() - 1);
  }
  if (all.size() > 4) groups += "; … (" + std::to_string(all.size()) + ")";
  return escaped(axes) + (groups.empty() ? "" : ": " + escaped(groups));
}
std::string by_phase(const Page& page) {
  std::string out = "<table>" + table_head({"phase", "#collectives", "kinds", "#bytes"}) + "<tbody>";
  for (const char* phase : {"forward", "loss", "backward", "optimizer"}) {
    int64_t n = 0, sum = 0;
    std::map<std::string, int64_t> kinds;
    for (const auto& entry : list(page.plan, "collectives")) {
      const Object& c = *entry.getAsObject();
      if (text(c, "phase") != phase) continue;
      ++n, sum += number(c, "bytes"), ++kinds[text(c, "kind").str()];
    }
    if (n == 0) continue;
    std::string words;
    for (const auto& [kind, count] : kinds)
      words += (words.empty() ? "" : ", ") + grouped(count) + " " + escaped(kind_text(kind, count));
    out += std::string("<tr><td>") + phase + "</td><td class=\"n\">" + grouped(n) + "</td><td>" + words +
           "</td><td class=\"n\">" + bytes(sum) + "</td></tr>";
  }
  return out + "<tr class=\"sum\"><td>together</td><td class=\"n\">" +
         grouped(int64_t(list(page.plan, "collectives").size())) + "</td><td></td><td class=\"n\">" +
         bytes(number(page.totals, "collective_bytes")) + "</td></tr></tbody></table>";
}
std::string one_token(const Page& page) {
  struct Part {
    std::string kind, reason, phase, shape;
    int64_t each, count;
  };
  std::vector<Part> parts;
  int64_t all = 0;
  for (const auto& entry : list(page.plan, "collectives")) {
    const Object& c = *entry.getAsObject();
    int64_t n = 0;
    if (const auto* formula = c.get("bytes_formula")) page.at_one_token(*formula, &n);
    Part p{kind_text(text(c, "kind"), 1),
           folded(text(c, "reason")),
           text(c, "phase").str(),
           shape_text(list(c, "shape")),
           n,
           1};
    all += n;
    auto it = std::find_if(parts.begin(), parts.end(), [&](const Part& x) {
      return x.kind == p.kind && x.reason == p.reason && x.phase == p.phase && x.each == p.each;
    });
    if (it == parts.end())
      parts.push_back(p);
    else
      ++it->count;
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.each * a.count > b.each * b.count; });
  std::string out =
      "<p class=\"answer\"><b>One token moves " + grouped(all) +
      " bytes.</b> That is every formula below with all dims at 1 (the length of an empty cache at 0):</p>";
  std::string table = "<table>" + table_head({"#times", "what", "#bytes each", "#bytes", "why"}) + "<tbody>";
  constexpr size_t most_parts = 24;
  int64_t rest = 0, rest_bytes = 0;
  for (size_t k = 0; k < parts.size(); ++k) {
    const Part& p = parts[k];
    if (k >= most_parts) {
      rest += p.count, rest_bytes += p.each * p.count;
      continue;
    }
    table += "<tr><td class=\"n\">" + grouped(p.count) + "</td><td>" + escaped(p.kind) +
             (page.training ? ", " + escaped(p.phase) : "") + "</td><td class=\"n\">" + grouped(p.each) +
             "</td><td class=\"n\">" + grouped(p.each * p.count) + "</td><td class=\"text\">" + escaped(p.reason) +
             "</td></tr>";
  }
  if (rest)
    table += "<tr><td class=\"n\">" + grouped(rest) + "</td><td>others</td><td></td><td class=\"n\">" +
             grouped(rest_bytes) + "</td><td></td></tr>";
  return out + scrolling("What one token moves", table + "</tbody></table>");
}
}  // namespace

std::string collectives(const Page& page) {
  const Array& all = list(page.plan, "collectives");
  if (all.empty()) return "<p>Nothing is communicated.</p>";
  std::string out =
      "<p>Bytes are those of the tensor that is summed or put together. On the wire a ring of n devices sends and "
      "receives 2(n − 1)/n of it per device for an all-reduce, (n − 1)/n for an all-gather or a reduce-scatter.</p>" +
      one_token(page) + "<h3>Sums by phase</h3>" + scrolling("Sums by phase", by_phase(page));
  std::string table = "<table class=\"sort wide\">" +
                      table_head({"#no.", "phase", "kind", "group", "tensor", "shape", "#bytes", "formula",
                                  "producer → consumers", "reason"}) +
                      "<tbody>";
  for (size_t k = 0; k < all.size(); ++k) {
    const Object& c = *all[k].getAsObject();
    std::string consumers;
    const Array& takers = list(c, "consumers");
    for (size_t n = 0; n < takers.size() && n < 4; ++n)
      consumers += (n ? ", " : "") + escaped(page.short_name(takers[n].getAsString().value_or("")));
    if (takers.size() > 4) consumers += " and " + std::to_string(takers.size() - 4) + " more";
    const std::string of = text(c, "of").str(), reduce = text(c, "reduce").str();
    table += "<tr><td class=\"n\">" + std::to_string(k + 1) + "</td><td>" + escaped(text(c, "phase")) + "</td><td>" +
             escaped(kind_text(text(c, "kind"), 1)) +
             (reduce.empty() || reduce == "sum" ? "" : " (" + escaped(reduce) + ")") + "</td><td>" + groups_text(c) +
             "</td><td class=\"name\">" + (page.tensors.count(of) ? link(of) : escaped(of)) + "</td><td>" +
             times(shape_text(list(c, "shape"))) + "</td><td class=\"n\" data-v=\"" +
             std::to_string(number(c, "bytes")) + "\">" + bytes(number(c, "bytes")) + "</td><td><code>" +
             times(c.get("bytes_formula") ? extent_text(*c.get("bytes_formula")) : "") +
             "</code></td><td class=\"name\">" + escaped(text(c, "producer")) + " → " + consumers +
             "</td><td class=\"text\">" + escaped(text(c, "reason")) + "</td></tr>\n";
  }
  table = scrolling("All collectives in order", table + "</tbody></table>");
  const bool open = all.size() <= most_open;
  return out + "<details" + (open ? " open" : "") + "><summary><b>all " + grouped(int64_t(all.size())) +
         " in the order of execution</b></summary>" + table + "</details>";
}
}  // namespace optp::page
