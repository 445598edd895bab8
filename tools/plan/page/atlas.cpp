// Every kind of weight as a rectangle cut into its shards.
#include <algorithm>
#include <cmath>
#include <set>

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr double largest_side = 260, smallest_side = 26, most_oblong = 6;
constexpr size_t most_pieces = 600, most_slices = 4;

// Of a parameter's shard, whose ends are numbers.
ShardDim numbers(const SymbolicShardDim& dim) {
  ShardDim out;
  for (const SymbolicInterval& i : dim) out.push_back({i.start.constant().value_or(0), i.stop.constant().value_or(0)});
  return out;
}
std::string range_text(const SymbolicShardDim& dim) {
  const ShardDim intervals = numbers(dim);
  std::string out;
  constexpr size_t most = 4;
  for (size_t k = 0; k < intervals.size() && k < most; ++k) {
    const Interval& i = intervals[k];
    out += (k ? ", " : "") +
           (i.size() > 0 ? std::to_string(i.start) + "–" + std::to_string(i.stop - 1) : std::string("nothing"));
  }
  if (intervals.size() > most) out += ", … (" + std::to_string(intervals.size()) + " ranges)";
  return out;
}
std::string who(const Plan::RankShard& h, int64_t devices) {
  if (int64_t(h.ranks.size()) == devices && devices > 1) return "<i class=\"dev all\">all</i>";
  std::string out;
  for (size_t k = 0; k < h.ranks.size() && k < 8; ++k) out += device(h.ranks[k]);
  return out + (h.ranks.size() > 8 ? "…" : "");
}

// Are some indices held where others need them, too? So are heads of keys and values with fewer than devices.
bool has_copies(const Plan::Tensor& tensor) { return has_cover(tensor.sharding.axes()); }

constexpr size_t most_lines = 16;  // shards that are told of and drawn one by one

struct Side {
  double width, height;
};
// Areas to scale, sides too unless that is too thin to see.
Side side_of(double rows, double columns, double most_elements) {
  const double oblong = std::clamp(columns / std::max(1.0, rows), 1 / most_oblong, most_oblong);
  const double area = largest_side * largest_side / most_oblong * rows * columns / std::max(1.0, most_elements);
  const double height = std::sqrt(area / oblong), width = height * oblong;
  return {std::max(width, smallest_side), std::max(height, smallest_side)};
}

// A tensor as its last two dims, a slice for some of the indices of those before.
class Drawing {
 public:
  Drawing(const Plan::Parameter& tensor, int64_t devices, double most_elements) : tensor_(tensor), devices_(devices) {
    const size_t ndim = tensor.dims.size();
    rows_ = ndim < 2 ? 1 : extent(ndim - 2), columns_ = extent(ndim - 1);
    for (size_t d = 0; d + 2 < ndim; ++d) slices_ = std::min(slices_ * extent(d), 1e12);
    side_ = ndim == 1 ? Side{std::clamp(largest_side * std::sqrt(columns_ / std::max(1.0, most_elements)) * 6, 60.0,
                                        largest_side),
                             14}
                      : side_of(rows_, columns_, most_elements / slices_);
  }
  std::string svg() {
    const auto drawn = size_t(std::min(slices_, double(most_slices)));
    const double step = side_.width + 8;
    std::string out =
        llvm::formatv("<svg{2} viewBox=\"0 0 {0:f1} {1:f1}\" width=\"{0:f1}\" height=\"{1:f1}\" aria-hidden=\"true\">",
                      step * double(drawn) - 8 + 2, side_.height + 2,
                      tensor_.layout->shards.size() > most_lines ? " class=\"fine\"" : "")
            .str();
    for (size_t s = 0; s < drawn; ++s) {
      const std::vector<int64_t> at = indices_of(int64_t(s * size_t(slices_) / drawn));
      if (has_copies(tensor_)) {
        out += cells(at, double(s) * step + 1);
        continue;
      }
      for (const Plan::RankShard& h : tensor_.layout->shards)
        if (holds(h, at)) out += pieces_of(h, double(s) * step + 1);
    }
    out += "</svg>";
    if (slices_ > 1)
      out += llvm::formatv("<p class=\"note\">{0} of {1} slices</p>", drawn, grouped(int64_t(slices_))).str();
    return out;
  }

 private:
  double extent(size_t d) const { return double(std::max<int64_t>(1, tensor_.dims[d].constant().value_or(1))); }
  // A slice's index in each of the dims before the last two.
  std::vector<int64_t> indices_of(int64_t slice) const {
    std::vector<int64_t> at(tensor_.dims.size() > 2 ? tensor_.dims.size() - 2 : 0);
    for (size_t d = at.size(); d-- > 0;) at[d] = slice % int64_t(extent(d)), slice /= int64_t(extent(d));
    return at;
  }
  static bool holds(const Plan::RankShard& h, llvm::ArrayRef<int64_t> at) {
    for (size_t d = 0; d < at.size(); ++d)
      if (llvm::none_of(numbers(h.shard.dims[d]), [&](Interval i) { return at[d] >= i.start && at[d] < i.stop; }))
        return false;
    return true;
  }
  // The parts of devices overlap: each cell between their ends is striped in the colours of those that hold it.
  std::string cells(llvm::ArrayRef<int64_t> at, double left) {
    std::string out;
    const size_t ndim = tensor_.dims.size();
    const std::vector<int64_t> rows = ndim < 2 ? std::vector<int64_t>{0, 1} : ends_in(ndim - 2),
                               columns = ends_in(ndim - 1);
    std::vector<int64_t> before;  // a name stands where its devices begin to hold
    for (size_t i = 0; i + 1 < rows.size(); ++i)
      for (size_t j = 0; j + 1 < columns.size(); ++j) {
        const std::vector<int64_t> ranks = holders(at, rows[i], columns[j]);
        if (ranks.empty() || ++pieces_ > most_pieces) continue;
        const double y0 = double(rows[i]) / rows_ * side_.height, y1 = double(rows[i + 1]) / rows_ * side_.height,
                     x0 = double(columns[j]) / columns_ * side_.width,
                     x1 = double(columns[j + 1]) / columns_ * side_.width;
        out += cell(ranks, left + x0, y0 + 1, {x1 - x0, y1 - y0}, ranks != before);
        before = ranks;
      }
    return out;
  }
  std::vector<int64_t> ends_in(size_t d) const {
    std::set<int64_t> out;
    for (const Plan::RankShard& h : tensor_.layout->shards)
      for (const Interval& i : numbers(h.shard.dims[d]))
        if (i.size() > 0) out.insert({i.start, i.stop});
    return {out.begin(), out.end()};
  }
  std::vector<int64_t> holders(llvm::ArrayRef<int64_t> at, int64_t row, int64_t column) const {
    const size_t ndim = tensor_.dims.size();
    std::vector<int64_t> index(at.begin(), at.end()), out;
    if (ndim > 1) index.push_back(row);
    index.push_back(column);
    for (const Plan::RankShard& h : tensor_.layout->shards)
      if (holds(h, index)) out.insert(out.end(), h.ranks.begin(), h.ranks.end());
    llvm::sort(out);
    return out;
  }
  static std::string rectangle(const std::string& attributes, double x, double y, Side side) {
    // Tenths of a pixel, and no more: a page of 64 devices has thousands.
    const auto number = [](double n) {
      std::string text = llvm::formatv("{0:f1}", n);
      return llvm::StringRef(text).ends_with(".0") ? text.substr(0, text.size() - 2) : text;
    };
    return "<path " + attributes + " d=\"M" + number(x) + " " + number(y) + "h" + number(side.width) + "v" +
           number(side.height) + "h-" + number(side.width) + "z\"/>";
  }
  static std::string rectangle_of(int64_t rank, const std::string& attribute, double x, double y, Side side) {
    return rectangle(attribute + " data-d=\"" + std::to_string(rank) + "\"", x, y, side);
  }
  static std::string cell(llvm::ArrayRef<int64_t> ranks, double x, double y, Side side, bool named) {
    std::string out = rectangle_of(ranks[0], "class=\"c" + std::to_string(ranks[0] % 8) + "\"", x, y, side),
                names = std::to_string(ranks[0]);
    if (ranks.size() > 1) {
      out += rectangle_of(ranks[0], "fill=\"url(#stripes" + std::to_string(ranks[1] % 8) + ")\"", x, y, side);
      names += (ranks.size() > 2 ? "–" : " ") + std::to_string(ranks.back());
    }
    if (named && side.width > 7 * double(names.size()) && side.height > 11)
      out += llvm::formatv("<text class=\"{0}\" x=\"{1:f1}\" y=\"{2:f1}\">{3}</text>",
                           ranks.size() > 1 ? "th" : "t" + std::to_string(ranks[0] % 8), x + side.width / 2,
                           y + side.height / 2 + 4, names)
                 .str();
    return out;
  }
  std::string pieces_of(const Plan::RankShard& h, double left) {
    std::string out;
    const size_t ndim = tensor_.dims.size();
    const ShardDim whole_row{{0, 1}};
    bool first = true;
    for (const Interval& i : ndim < 2 ? whole_row : numbers(h.shard.dims[ndim - 2]))
      for (const Interval& j : numbers(h.shard.dims[ndim - 1])) {
        const double y0 = double(i.start) / rows_ * side_.height, y1 = double(i.stop) / rows_ * side_.height;
        const double x0 = double(j.start) / columns_ * side_.width, x1 = double(j.stop) / columns_ * side_.width;
        if (x1 <= x0 || y1 <= y0 || ++pieces_ > most_pieces) continue;
        out += piece(h, left + x0, y0 + 1, {x1 - x0, y1 - y0}, first);
        first = false;
      }
    return out;
  }
  std::string piece(const Plan::RankShard& h, double x, double y, Side side, bool named) const {
    const bool shared = h.ranks.size() > 1, everywhere = int64_t(h.ranks.size()) == devices_ && devices_ > 1;
    const int64_t rank = h.ranks[0];
    const std::string kind = everywhere ? "call" : "c" + std::to_string(rank % 8);
    std::string out = rectangle_of(rank, "class=\"" + kind + "\"", x, y, side);
    if (shared) out += rectangle("class=\"hatch\"", x, y, side);
    if (named && side.width > 12 && side.height > 11 && !everywhere)
      out += llvm::formatv("<text class=\"{0}\" x=\"{1:f1}\" y=\"{2:f1}\">{3}</text>",
                           shared ? "th" : "t" + std::to_string(rank % 8), x + side.width / 2, y + side.height / 2 + 4,
                           rank)
                 .str();
    return out;
  }

  const Plan::Parameter& tensor_;
  int64_t devices_;
  double rows_ = 1, columns_ = 1, slices_ = 1;
  Side side_{};
  size_t pieces_ = 0;
};

std::string rows_or_dim(size_t d, size_t ndim) {
  return ndim == 2 ? (d == 0 ? "rows" : "columns") : "dim " + std::to_string(d);
}

// Of one of the dims that are cut: which devices hold which indices.
std::string ranges_of_dim(const Plan::Layout& layout, size_t d) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> held;  // in the order of shards
  for (const Plan::RankShard& h : layout.shards) {
    const std::string range = range_text(h.shard.dims[d]);
    auto at = llvm::find_if(held, [&](const auto& each) { return each.first == range; });
    if (at == held.end()) at = held.insert(at, {range, {}});
    llvm::append_range(at->second, h.ranks);
  }
  std::string out;
  for (auto& [range, ranks] : held) {
    llvm::sort(ranks);
    out += (out.empty() ? "" : " | ") + std::string("<span>") + range + " on " + ranks_text(ranks) + "</span>";
  }
  return "<p class=\"ranges\"><span>" + rows_or_dim(d, layout.dims.size()) + "</span> " + out + "</p>";
}
// By the dims that are not the same on all devices.
std::string ranges_by_device(const Plan::Layout& layout, int64_t devices) {
  const size_t ndim = layout.dims.size();
  std::vector<size_t> cut;
  for (size_t d = 0; d < ndim; ++d)
    if (llvm::any_of(layout.shards, [&](const auto& h) { return h.shard.dims[d] != layout.shards[0].shard.dims[d]; }))
      cut.push_back(d);
  std::string out;
  if (layout.shards.size() > most_lines) {
    for (size_t d : cut) out += ranges_of_dim(layout, d);
    return out;
  }
  if (cut.size() == 1) {
    out += "<p class=\"ranges\"><span>" + rows_or_dim(cut[0], ndim) + "</span> ";
    for (size_t k = 0; k < layout.shards.size(); ++k)
      out += (k ? " | " : "") + std::string("<span>") + who(layout.shards[k], devices) + "&nbsp;" +
             range_text(layout.shards[k].shard.dims[cut[0]]) + "</span>";
    return out + "</p>";
  }
  for (const Plan::RankShard& h : layout.shards) {
    out += "<li>" + who(h, devices) + " ";
    for (size_t d : cut) out += (d == cut[0] ? "" : " × ") + rows_or_dim(d, ndim) + " " + range_text(h.shard.dims[d]);
    out += "</li>";
  }
  return "<ul class=\"ranges\">" + out + "</ul>";
}
std::string ranges_list(const Plan::Layout& layout, int64_t devices) {
  const std::vector<Plan::RankShard>& held = layout.shards;
  if (held.size() == 1) return devices > 1 ? "<p>whole on every device</p>" : "<p>whole</p>";
  std::string out = ranges_by_device(layout, devices);
  if (held.size() > most_lines)
    out = "<details><summary>ranges of " + std::to_string(held.size()) + " shards</summary>" + out + "</details>";
  // Bytes only where they differ.
  std::set<int64_t> sizes;
  for (const Plan::RankShard& h : held) sizes.insert(h.bytes.constant().value_or(0));
  out += "<p>a device holds " +
         (sizes.size() == 1 ? bytes(*sizes.begin())
                            : grouped(*sizes.begin()) + " to " + grouped(*sizes.rbegin()) + " bytes") +
         (held[0].ranks.size() > 1 ? ", on " + std::to_string(held[0].ranks.size()) + " devices each" : "") + "</p>";
  return out;
}
// 768 = 12 × 64: what a dim of several factors is made of, and which is cut.
std::string factors_text(const Plan::Tensor& tensor) {
  std::string out;
  const auto extents = factor_extents(tensor.dims, tensor.sharding);
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    if (extents[d].size() < 2) continue;
    std::string sum, which;
    for (const ProductSharding& part : tensor.sharding.dims[d].parts) {
      std::string product;
      const Dims own = factor_extents({part.extent()}, Sharding{{DimSharding(part.factors)}})[0];
      for (Dim e : own) product += (product.empty() ? "" : " × ") + times(e.text());
      for (const FactorSharding& f : part.factors)
        if (!f.axes.empty())
          which += (which.empty() ? "" : " and ") + std::string("the ") + times(f.extent.text()) + " over " +
                   axes_text(f.axes);
      sum += (sum.empty() ? "" : " + ") + product;
    }
    out += "<p>" + rows_or_dim(d, tensor.dims.size()) + ": " + times(tensor.dims[d].text()) + " = " + sum +
           ", cut in " + which + "</p>";
  }
  return out;
}
// One for each of the devices' colours.
std::string stripes() {
  std::string out = "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" style=\"position:absolute\"><defs>";
  for (int k = 0; k < 8; ++k)
    out += llvm::formatv(
               "<pattern id=\"stripes{0}\" width=\"10\" height=\"10\" patternUnits=\"userSpaceOnUse\" "
               "patternTransform=\"rotate(45)\"><rect class=\"c{0}\" width=\"5\" height=\"10\"/></pattern>",
               k)
               .str();
  return out + "</defs></svg>";
}
std::string tied_text(const Kind& kind) {
  std::string tied;
  for (const Plan::Parameter* p : kind.tensors)
    for (const std::string& a : p->aliases)
      tied +=
          (tied.empty() ? "" : ", ") + link(a) + (llvm::is_contained(p->transposed_aliases, a) ? " (transposed)" : "");
  return tied.empty() ? "" : "<p>tied: one tensor with <b>" + tied + "</b></p>";
}
std::string card_of(const Page& page, const Kind& k, double most_elements) {
  const Plan::Parameter& t = *k.tensors[0];
  const size_t n = k.tensors.size();
  std::string card =
      "<article><h3>" + link(t.name, k.name) + (n > 1 ? " <small>× " + grouped(int64_t(n)) + "</small>" : "") + "</h3>";
  if (!k.user.empty()) card += "<p class=\"note\">used by " + escaped(k.user) + "</p>";
  card += "<p>" + chip(t) + " " + long_name(t.dtype).str() + ", " + bytes(t.bytes) +
          (n > 1 ? " each, " + bytes(k.bytes) + " in all" : "") + "</p>";
  if (!t.dims.empty()) card += Drawing(t, page.devices, most_elements).svg();
  card += ranges_list(*t.layout, page.devices) + factors_text(t) + tied_text(k) + "<p class=\"note\">" +
          page.because(t) + "</p>";
  if (n > 1) {
    card += "<details><summary>" + grouped(int64_t(n)) + " names</summary><p class=\"names\">";
    for (const Plan::Parameter* p : k.tensors)
      card +=
          escaped(p->name) + (p->model_name.empty() ? "" : " <small>" + escaped(p->model_name) + "</small>") + "<br>";
    card += "</p></details>";
  }
  return card + "</article>\n";
}
}  // namespace

std::string atlas(const Page& page) {
  double most = 1;
  for (const Kind& k : page.kinds)
    if (k.tensors[0]->dims.size() > 1) most = std::max(most, double(k.tensors[0]->elements));
  std::string out =
      "<p>Each kind of weight once, cut as the devices hold it. Ranges are first–last index, counted from 0. Hatched: "
      "more than one device holds it. Areas of matrices are to scale, their sides up to 6&thinsp;:&thinsp;1 and from "
      "26 pixels.";
  if (!page.start.empty()) out += " Names begin with <code>" + escaped(page.start) + "</code>; * is a layer.";
  out += "</p>\n";
  if (llvm::any_of(page.kinds, [](const Kind& k) { return has_copies(*k.tensors[0]); }))
    out += stripes() +
           "<ul class=\"legend\"><li><i class=\"c0\"></i>held by one device</li><li><i class=\"copies\"></i>copies of "
           "key/value heads: striped in the colours of the devices that hold them for their queries</li></ul>\n";
  out += "<div class=\"atlas\">";
  std::string vectors;  // whole norms and biases: many, small and all the same to look at
  int64_t n_vectors = 0, vector_bytes = 0;
  for (const Kind& k : page.kinds) {
    const std::string card = card_of(page, k, most);
    if (k.whole && k.tensors[0]->dims.size() < 2 && page.devices > 1)
      vectors += card, n_vectors += int64_t(k.tensors.size()), vector_bytes += k.bytes;
    else
      out += card;
  }
  out += "</div>";
  if (n_vectors)
    out += "<details><summary>" + grouped(n_vectors) +
           " norms, biases and other vectors that are whole on every device, " + bytes(vector_bytes) +
           "</summary><div class=\"atlas\">" + vectors + "</div></details>";
  return out;
}
}  // namespace optp::page
