#include "tools/plan/tensor_drawing.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/cli/terminal_text.h"
#include "tools/plan/plan_text.h"

namespace optp {
namespace {
constexpr size_t ruler = 52, most_stretches = 16;
// Of the 256 colours those next to the page's: dark text reads on all but the first.
constexpr int colours[] = {25, 214, 36, 208, 75, 175, 227, 248};

struct Stretch {
  int64_t start, stop;
  std::vector<int64_t> ranks;
};
// Of one dim; none where an end is no number.
std::optional<std::vector<Stretch>> stretches(const Plan::Layout& layout, size_t dim) {
  std::vector<std::pair<Interval, const Plan::RankShard*>> held;
  std::set<int64_t> ends;
  for (const Plan::RankShard& shard : layout.shards)
    for (const SymbolicInterval& i : shard.shard.dims[dim]) {
      const auto start = i.start.constant(), stop = i.stop.constant();
      if (!start || !stop || !i.repeats.empty()) return std::nullopt;
      held.push_back({{*start, *stop}, &shard});
      ends.insert(*start), ends.insert(*stop);
    }
  std::vector<Stretch> out;
  for (auto at = ends.begin(); at != ends.end() && std::next(at) != ends.end(); ++at) {
    Stretch s{*at, *std::next(at), {}};
    for (const auto& [interval, shard] : held)
      if (interval.start <= s.start && s.stop <= interval.stop)
        s.ranks.insert(s.ranks.end(), shard->ranks.begin(), shard->ranks.end());
    llvm::sort(s.ranks);
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

void draw_layout(const Plan::Layout& layout, bool colour, llvm::raw_ostream& out) {
  const size_t devices = layout.of_rank.size();
  bool any = false;
  for (size_t d = 0; d < layout.dims.size(); ++d) {
    const auto extent = layout.dims[d].constant();
    if (!extent || *extent < 1) continue;
    auto parts = stretches(layout, d);
    if (!parts || parts->empty()) continue;
    const size_t shown = std::min(parts->size(), most_stretches);
    const int64_t last = (*parts)[shown - 1].stop, first = (*parts)[0].start;
    out << llvm::formatv("  dim {0} {1,9} ", d, grouped(*extent));
    size_t used = 0;
    for (size_t k = 0; k < shown; ++k) {
      const Stretch& s = (*parts)[k];
      // Where this stretch ends, of the columns that are not separators; each has one at least.
      const size_t room = ruler - shown - 1;
      const auto to = size_t(std::lround(double(s.stop - first) / double(last - first) * double(room)));
      const size_t width = std::max<size_t>(1, to > used ? to - used : 0);
      used += width;
      std::string text = ranks_text(s.ranks, devices);
      if (columns(text) > width) text = s.ranks.size() > 1 ? "*" : text.substr(0, width);
      const size_t before = (width - columns(text)) / 2;
      text = std::string(before, ' ') + padded(text, width - before);
      out << "|";
      if (colour && s.ranks.size() < devices)
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
