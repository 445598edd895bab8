#include "tools/plan/tensor_drawing.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;

constexpr size_t ruler = 52, most_stretches = 16;
// Of the 256 colours those next to the page's: dark text reads on all but the first.
constexpr int colours[] = {25, 214, 36, 208, 75, 175, 227, 248};

struct Stretch {
  int64_t start, stop;
  std::vector<int64_t> ranks;
};
// Of one dim; none where an end is no number.
std::optional<std::vector<Stretch>> stretches(const JsonArray& ranks, size_t dim) {
  std::vector<std::vector<std::pair<int64_t, int64_t>>> held;
  std::set<int64_t> ends;
  for (const auto& r : ranks) {
    auto& mine = held.emplace_back();
    for (const auto& v : *(*r.getAsObject()->getArray("ranges"))[dim].getAsArray()) {
      const auto start = (*v.getAsArray())[0].getAsInteger(), stop = (*v.getAsArray())[1].getAsInteger();
      if (!start || !stop) return std::nullopt;
      mine.emplace_back(*start, *stop);
      ends.insert(*start), ends.insert(*stop);
    }
  }
  std::vector<Stretch> out;
  for (auto at = ends.begin(); at != ends.end() && std::next(at) != ends.end(); ++at) {
    Stretch s{*at, *std::next(at), {}};
    for (size_t r = 0; r < held.size(); ++r)
      if (llvm::any_of(held[r], [&](const auto& i) { return i.first <= s.start && s.stop <= i.second; }))
        s.ranks.push_back(int64_t(r));
    if (!s.ranks.empty()) out.push_back(std::move(s));
  }
  return out;
}
// "all", "3", "0–3", "0,2,4".
std::string ranks_text(const std::vector<int64_t>& ranks, size_t devices) {
  if (ranks.size() == devices) return devices > 1 ? "all" : "0";
  if (ranks.size() > 2 && ranks.back() - ranks.front() == int64_t(ranks.size()) - 1)
    return std::to_string(ranks.front()) + "–" + std::to_string(ranks.back());
  std::string out;
  for (int64_t r : ranks) out += (out.empty() ? "" : ",") + std::to_string(r);
  return out;
}
}  // namespace

void draw_shards(const JsonObject& tensor, bool colour, llvm::raw_ostream& out) {
  const JsonArray* ranks = tensor.getArray("ranks");
  const JsonArray& shape = *tensor.getArray("shape");
  if (!ranks || ranks->empty() || shape.empty()) return;
  bool any = false;
  for (size_t d = 0; d < shape.size(); ++d) {
    const auto extent = shape[d].getAsInteger();
    if (!extent || *extent < 1) continue;
    auto parts = stretches(*ranks, d);
    if (!parts || parts->empty()) continue;
    const size_t shown = std::min(parts->size(), most_stretches);
    const int64_t last = (*parts)[shown - 1].stop, first = (*parts)[0].start;
    out << llvm::formatv("  dim {0} {1,9} ", d, grouped(*extent));
    size_t used = 0;
    for (size_t k = 0; k < shown; ++k) {
      const Stretch& s = (*parts)[k];
      // Where this stretch ends, of the columns that are not separators; each has one at least.
      const size_t room = ruler - shown - 1;
      const auto to = size_t(double(s.stop - first) / double(last - first) * double(room) + 0.5);
      const size_t width = std::max<size_t>(1, to > used ? to - used : 0);
      used += width;
      std::string text = ranks_text(s.ranks, ranks->size());
      if (columns(text) > width) text = s.ranks.size() > 1 ? "*" : text.substr(0, width);
      const size_t before = (width - columns(text)) / 2;
      text = std::string(before, ' ') + padded(text, width - before);
      out << "|";
      if (colour && s.ranks.size() < ranks->size())
        out << "\x1b[48;5;" << colours[s.ranks[0] % 8] << ";38;5;" << (s.ranks[0] % 8 == 0 ? 231 : 16) << "m" << text
            << "\x1b[0m";
      else
        out << text;
    }
    out << "|";
    if (shown < parts->size()) out << " … " << parts->size() << " stretches";
    out << "\n";
    any = true;
  }
  if (any) out << "\n";
}
}  // namespace optp
