// Everything that is communicated: each meeting, sums by phase, and what one token moves.
#include <algorithm>

#include "llvm/ADT/StringExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr size_t most_open = 48;  // rows shown without a click

std::string groups_text(const Plan::CollectiveUse& c) {
  std::string groups;
  for (size_t k = 0; k < c.groups.size() && k < 4; ++k)
    if (!c.groups[k].empty()) groups += (groups.empty() ? "" : "; ") + ranks_text(c.groups[k]);
  if (c.groups.size() > 4) groups += "; … (" + std::to_string(c.groups.size()) + ")";
  return escaped(llvm::join(c.call.axes, ", ")) + (groups.empty() ? "" : ": " + escaped(groups));
}
std::string by_phase(const Page& page) {
  std::string out =
      "<table>" + table_head({"phase", "#collectives", "kinds", "#bytes", "#sent by a device"}) + "<tbody>";
  for (Phase phase : {Phase::forward, Phase::loss, Phase::backward, Phase::optimizer}) {
    int64_t n = 0, sum = 0, sent = 0;
    std::map<Collective, int64_t> kinds;
    for (const Plan::CollectiveUse& c : page.plan.collectives) {
      if (c.phase != phase) continue;
      ++n, sum += c.bytes, sent += c.sent_bytes, ++kinds[c.call.kind];
    }
    if (n == 0) continue;
    std::string words;
    for (const auto& [kind, count] : kinds)
      words += (words.empty() ? "" : ", ") + grouped(count) + " " + escaped(kind_text(kind, count));
    out += "<tr><td>" + to_string(phase).str() + "</td><td class=\"n\">" + grouped(n) + "</td><td>" + words +
           "</td><td class=\"n\">" + bytes(sum) + "</td><td class=\"n\">" + bytes(sent) + "</td></tr>";
  }
  const Plan::Totals& t = page.plan.totals;
  return out + "<tr class=\"sum\"><td>together</td><td class=\"n\">" + grouped(int64_t(page.plan.collectives.size())) +
         "</td><td></td><td class=\"n\">" + bytes(t.collective_bytes) + "</td><td class=\"n\">" + bytes(t.sent_bytes) +
         "</td></tr></tbody></table>";
}
struct Part {
  std::string kind, reason;
  Phase phase;
  int64_t each, count;
};
// Those alike are one.
std::vector<Part> parts_of(const Page& page) {
  std::vector<Part> parts;
  for (const Plan::CollectiveUse& c : page.plan.collectives) {
    Part p{kind_text(c.call.kind, 1), folded(c.call.reason), c.phase, page.at_one_token(c.bytes_formula).value_or(0),
           1};
    auto it = std::find_if(parts.begin(), parts.end(), [&](const Part& x) {
      return x.kind == p.kind && x.reason == p.reason && x.phase == p.phase && x.each == p.each;
    });
    if (it == parts.end())
      parts.push_back(std::move(p));
    else
      ++it->count;
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.each * a.count > b.each * b.count; });
  return parts;
}
std::string one_token(const Page& page) {
  const std::vector<Part> parts = parts_of(page);
  int64_t all = 0;
  for (const Part& p : parts) all += p.each * p.count;
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
             (page.training ? ", " + to_string(p.phase).str() : "") + "</td><td class=\"n\">" + grouped(p.each) +
             "</td><td class=\"n\">" + grouped(p.each * p.count) + "</td><td class=\"text\">" + escaped(p.reason) +
             "</td></tr>";
  }
  if (rest)
    table += "<tr><td class=\"n\">" + grouped(rest) + "</td><td>others</td><td></td><td class=\"n\">" +
             grouped(rest_bytes) + "</td><td></td></tr>";
  return out + scrolling("What one token moves", table + "</tbody></table>");
}
std::string row(const Page& page, size_t k) {
  const Plan::CollectiveUse& c = page.plan.collectives[k];
  std::string consumers;
  for (size_t n = 0; n < c.consumers.size() && n < 4; ++n)
    consumers += (n ? ", " : "") + escaped(page.short_name(c.consumers[n]));
  if (c.consumers.size() > 4) consumers += " and " + std::to_string(c.consumers.size() - 4) + " more";
  auto number = [](int64_t n) { return "<td class=\"n\" title=\"" + grouped(n) + " bytes\">" + rounded_bytes(n); };
  // A row ends where the next one begins: of the largest plans' pages these rows are the largest part.
  return "<tr><td class=\"n\">" + std::to_string(k + 1) + "<td>" + to_string(c.phase).str() + "<td>" +
         escaped(kind_text(c.call.kind, 1)) +
         (c.call.reduce == Reduce::none || c.call.reduce == Reduce::sum ? ""
                                                                        : " (" + to_string(c.call.reduce).str() + ")") +
         "<td>" + groups_text(c) + "<td class=\"name\">" + (page.tensors.count(c.of) ? link(c.of) : escaped(c.of)) +
         "<td>" + times(shape_text(c.call.dims)) + number(c.bytes) + number(c.sent_bytes) + "<td>" +
         (c.bytes_formula.constant() ? "" : "<code>" + times(c.bytes_formula.text()) + "</code>") +
         "<td class=\"name\">" + escaped(c.producer) + " → " + consumers + "<td class=\"text\">" +
         escaped(c.call.reason) + "\n";
}
}  // namespace

std::string collectives(const Page& page) {
  const size_t all = page.plan.collectives.size();
  if (all == 0) return "<p>Nothing is communicated.</p>";
  std::string out =
      "<p>Bytes are those of the tensor that is summed or put together. What a device sends is less or more: of n "
      "devices that meet, each sends 2(n − 1)/n of it for an all-reduce, (n − 1)/n for an all-gather or a "
      "reduce-scatter, and receives as much.</p>" +
      one_token(page) + "<h3>Sums by phase</h3>" + scrolling("Sums by phase", by_phase(page));
  std::string table = "<table class=\"sort wide\">" +
                      table_head({"#no.", "phase", "kind", "group", "tensor", "shape", "#bytes", "#sent by a device",
                                  "formula", "producer → consumers", "reason"}) +
                      "<tbody>";
  for (size_t k = 0; k < all; ++k) table += row(page, k);
  table = scrolling("All collectives in order", table + "</tbody></table>");
  return out + "<details" + (all <= most_open ? " open" : "") + "><summary><b>all " + grouped(int64_t(all)) +
         " in the order of execution</b></summary>" + table + "</details>";
}
}  // namespace optp::page
