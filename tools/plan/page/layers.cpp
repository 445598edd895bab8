// Where the model is cut: its operations in order, equal layers drawn once, collectives as joints between.
#include <algorithm>

#include "frontend/ir/op.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr size_t most_boxes = 60;  // drawn outright where no layers repeat

const Plan::FlowEntry& entry(const Page& page, int64_t k) { return page.plan.flow[size_t(k)]; }

// An op that this version does not know has no trait.
bool is(const Plan::FlowEntry& e, Trait any) {
  const OpDef* op = find_op(e.op);
  return op && op->is(any);
}

// The operation in words; scores and context are known by the softmax between them.
std::string word(const Page& page, int64_t k) {
  const Plan::FlowEntry& e = entry(page, k);
  if (is(e, Trait::product) && e.parameters.empty()) {
    for (int64_t from : e.after)
      if (is(entry(page, from), Trait::shares_out)) return "attention: context";
    const auto end = std::min<int64_t>(k + 8, int64_t(page.plan.flow.size()));
    for (int64_t next = k + 1; next < end; ++next)
      if (is(entry(page, next), Trait::shares_out) && llvm::is_contained(entry(page, next).after, k))
        return "attention: scores";
  }
  const OpDef* op = find_op(e.op);
  const OpWords words = op ? op->words : OpWords();
  const std::string& word = e.parameters.empty() ? words.of_activations : words.with_parameter;
  return word.empty() ? escaped(e.op) : word;
}
// One operation with the biases that directly follow it.
struct Box {
  std::vector<int64_t> entries;
};
std::string box(const Page& page, const Box& b, bool several) {
  std::string out =
      "<div class=\"box\"><h4>" + word(page, b.entries[0]) + (b.entries.size() > 1 ? " + bias" : "") + "</h4><div>";
  for (int64_t k : b.entries)
    for (const std::string& name : entry(page, k).parameters) {
      const std::string shown = several ? folded(page.short_name(name)) : page.short_name(name);
      const auto t = page.tensors.find(name);
      out += "<p>" + (t == page.tensors.end() ? escaped(name) : link(name, shown) + " " + chip(*t->second)) + "</p>";
    }
  // Exporters name transposed copies by number: the node tells which product it is.
  const Plan::FlowEntry &first = entry(page, b.entries[0]), &last = entry(page, b.entries.back());
  if (!first.parameters.empty() && is_numbered(page.short_name(first.parameters[0])) && !first.node.empty())
    out += "<p class=\"note\">" + escaped(several ? folded(first.node) : first.node) + "</p>";
  return out + "</div><p class=\"result\">→ " + link(last.result, "result") + " " +
         chip(page.tensors.at(last.result)->dims, last.sharding) + "</p></div>";
}
std::string joint(const Page& page, const Plan::FlowEntry& e) {
  const Plan::CollectiveUse& c = *page.collectives.at(e.collective);
  return "<div class=\"joint\"><b>" + escaped(kind_text(c.call.kind, 1)) + "</b> over " +
         escaped(llvm::join(c.call.axes, ", ")) + ", " + bytes(c.bytes) +
         (c.bytes_formula.constant() ? "" : " (<code>" + times(c.bytes_formula.text()) + "</code>)") + " <span>" +
         escaped(c.call.reason) + "</span></div>";
}
// Entries from `begin` to `end` of the flow. What has the same operands stands side by side.
std::string drawing(const Page& page, int64_t begin, int64_t end, bool several) {
  std::string out = "<div class=\"flow\">";
  std::vector<Box> side_by_side;
  auto flush = [&] {
    if (side_by_side.empty()) return;
    out += "<div class=\"step\">";
    for (const Box& b : side_by_side) out += box(page, b, several);
    out += "</div>\n";
    side_by_side.clear();
  };
  for (int64_t k = begin; k < end; ++k) {
    const Plan::FlowEntry& e = entry(page, k);
    if (e.is_collective()) {
      flush();
      out += joint(page, e) + "\n";
      continue;
    }
    const bool bias = is(e, Trait::adds) && !e.parameters.empty() && e.after.size() == 1;
    Box* producer = nullptr;
    for (Box& b : side_by_side)
      if (bias && b.entries.back() == e.after[0]) producer = &b;
    if (producer) {
      producer->entries.push_back(k);
      continue;
    }
    if (!side_by_side.empty() && entry(page, side_by_side[0].entries[0]).after != e.after) flush();
    side_by_side.push_back({{k}});
  }
  flush();
  return out + "</div>";
}
}  // namespace

std::string layers(const Page& page) {
  const auto size = int64_t(page.plan.flow.size());
  if (size == 0) return "<p>No operation uses a weight.</p>";
  const Layers& l = page.layers;
  std::string out =
      "<p>The forward graph's operations that use weights or meet, in order. <b>÷</b> marks a dim that is cut and the "
      "mesh axis it is cut over; bands are the collectives between. Boxes side by side have the same operands.</p>\n";
  if (l.count < 2) {
    const bool long_one = size > int64_t(most_boxes);
    if (long_one)
      out +=
          "<details><summary>" + grouped(size) + " operations and collectives, none of them in equal layers</summary>";
    return out + drawing(page, 0, size, /*several=*/false) + (long_one ? "</details>" : "");
  }
  if (l.begin(0) > 0) out += "<h3>before the layers</h3>" + drawing(page, 0, l.begin(0), /*several=*/false);
  for (int64_t first = 0; first < l.count;) {
    int64_t last = first;
    while (last + 1 < l.count && l.alike(first, last + 1)) ++last;
    std::string title = first == last ? "layer " + std::to_string(first)
                                      : "layers " + std::to_string(first) + "–" + std::to_string(last) + ", identical";
    if (first > 0) title += ": sharded differently from those before";
    out += "<details class=\"layers\" open><summary><b>" + title + "</b></summary>" +
           drawing(page, l.begin(first), l.end(first, size), first != last) + "</details>\n";
    first = last + 1;
  }
  if (l.end(l.count - 1, size) < size)
    out += "<h3>after the layers</h3>" + drawing(page, l.end(l.count - 1, size), size, /*several=*/false);
  return out;
}
}  // namespace optp::page
