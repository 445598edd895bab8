// Every kind of weight as a rectangle cut into its shards.
#include <algorithm>
#include <cmath>
#include <set>

#include "llvm/Support/FormatVariadic.h"
#include "tools/plan/page/parts.h"
#include "tools/plan/plan_text.h"

namespace optp::page {
namespace {
constexpr double largest_side = 260, smallest_side = 26, most_oblong = 6;
constexpr size_t most_pieces = 600, most_slices = 4;

// Devices that hold the same indices.
struct Holding {
  const Array* ranges;
  int64_t bytes;
  std::vector<int64_t> ranks;
};
std::vector<Holding> holdings(const Object& tensor) {
  std::vector<Holding> out;
  std::map<std::string, size_t> index;
  const Array& ranks = list(tensor, "ranks");
  for (size_t r = 0; r < ranks.size(); ++r) {
    const Array& ranges = list(*ranks[r].getAsObject(), "ranges");
    auto [it, fresh] = index.emplace(llvm::formatv("{0}", llvm::json::Value(Array(ranges))).str(), out.size());
    if (fresh) out.push_back({&ranges, number(*ranks[r].getAsObject(), "bytes"), {}});
    out[it->second].ranks.push_back(int64_t(r));
  }
  return out;
}
std::string range_text(const Array& intervals) {
  std::string out;
  constexpr size_t most = 4;
  for (size_t k = 0; k < intervals.size() && k < most; ++k) {
    const Array& i = *intervals[k].getAsArray();
    const int64_t start = i[0].getAsInteger().value_or(0), stop = i[1].getAsInteger().value_or(0);
    out += (k ? ", " : "") +
           (stop > start ? std::to_string(start) + "–" + std::to_string(stop - 1) : std::string("nothing"));
  }
  if (intervals.size() > most) out += ", … (" + std::to_string(intervals.size()) + " ranges)";
  return out;
}
std::string who(const Holding& h, int64_t devices) {
  if (int64_t(h.ranks.size()) == devices && devices > 1) return "<i class=\"dev all\">all</i>";
  std::string out;
  for (size_t k = 0; k < h.ranks.size() && k < 8; ++k) out += device(h.ranks[k]);
  return out + (h.ranks.size() > 8 ? "…" : "");
}

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

std::string drawing(const Object& tensor, int64_t devices, double most_elements) {
  const Array& shape = list(tensor, "shape");
  const size_t ndim = shape.size();
  if (ndim == 0) return "";
  auto extent = [&](size_t d) { return double(std::max<int64_t>(1, shape[d].getAsInteger().value_or(1))); };
  const double rows = ndim < 2 ? 1 : extent(ndim - 2), columns = extent(ndim - 1);
  double slices = 1;
  for (size_t d = 0; d + 2 < ndim; ++d) slices = std::min(slices * extent(d), 1e12);
  const auto drawn = size_t(std::min(slices, double(most_slices)));
  const Side side =
      ndim == 1
          ? Side{std::clamp(largest_side * std::sqrt(columns / std::max(1.0, most_elements)) * 6, 60.0, largest_side),
                 14}
          : side_of(rows, columns, most_elements / slices);
  const double step = side.width + 8, width = step * double(drawn) - 8;
  std::string out =
      llvm::formatv("<svg viewBox=\"0 0 {0:f1} {1:f1}\" width=\"{0:f1}\" height=\"{1:f1}\" aria-hidden=\"true\">",
                    width + 2, side.height + 2)
          .str();
  size_t pieces = 0;
  for (size_t s = 0; s < drawn; ++s) {
    // The slice's index in each of the dims before the last two.
    std::vector<int64_t> at(ndim > 2 ? ndim - 2 : 0);
    auto rest = int64_t(s * size_t(slices) / drawn);
    for (size_t d = at.size(); d-- > 0;) at[d] = rest % int64_t(extent(d)), rest /= int64_t(extent(d));
    for (const Holding& h : holdings(tensor)) {
      auto holds = [&](size_t d) {
        for (const auto& v : *(*h.ranges)[d].getAsArray())
          if (const Array& i = *v.getAsArray();
              at[d] >= i[0].getAsInteger().value_or(0) && at[d] < i[1].getAsInteger().value_or(0))
            return true;
        return false;
      };
      bool here = true;
      for (size_t d = 0; d < at.size(); ++d) here = here && holds(d);
      if (!here) continue;
      const bool shared = h.ranks.size() > 1, everywhere = int64_t(h.ranks.size()) == devices && devices > 1;
      const std::string kind = everywhere ? "call" : "c" + std::to_string(h.ranks[0] % 8);
      bool first = true;
      static const Array whole_row{Array{0, 1}};
      for (const auto& v : ndim < 2 ? whole_row : *(*h.ranges)[ndim - 2].getAsArray())
        for (const auto& w : *(*h.ranges)[ndim - 1].getAsArray()) {
          const Array &i = *v.getAsArray(), &j = *w.getAsArray();
          const double y0 = double(i[0].getAsInteger().value_or(0)) / rows * side.height,
                       y1 = double(i[1].getAsInteger().value_or(0)) / rows * side.height;
          const double x0 = double(j[0].getAsInteger().value_or(0)) / columns * side.width,
                       x1 = double(j[1].getAsInteger().value_or(0)) / columns * side.width;
          if (x1 <= x0 || y1 <= y0 || ++pieces > most_pieces) continue;
          const double x = double(s) * step + x0 + 1, y = y0 + 1;
          out +=
              llvm::formatv(
                  "<rect class=\"{0}\" data-d=\"{1}\" x=\"{2:f1}\" y=\"{3:f1}\" width=\"{4:f1}\" height=\"{5:f1}\"/>",
                  kind, h.ranks[0], x, y, x1 - x0, y1 - y0)
                  .str();
          if (shared)
            out += llvm::formatv("<rect class=\"hatch\" x=\"{0:f1}\" y=\"{1:f1}\" width=\"{2:f1}\" height=\"{3:f1}\"/>",
                                 x, y, x1 - x0, y1 - y0)
                       .str();
          if (first && x1 - x0 > 12 && y1 - y0 > 11 && !everywhere)
            out += llvm::formatv("<text class=\"{0}\" x=\"{1:f1}\" y=\"{2:f1}\">{3}</text>",
                                 shared ? "th" : "t" + std::to_string(h.ranks[0] % 8), x + (x1 - x0) / 2,
                                 y + (y1 - y0) / 2 + 4, h.ranks[0])
                       .str();
          first = false;
        }
    }
  }
  out += "</svg>";
  if (slices > 1)
    out += llvm::formatv("<p class=\"note\">{0} of {1} slices</p>", drawn, grouped(int64_t(slices))).str();
  return out;
}

std::string rows_or_dim(size_t d, size_t ndim) {
  return ndim == 2 ? (d == 0 ? "rows" : "columns") : "dim " + std::to_string(d);
}

std::string ranges_list(const Object& tensor, int64_t devices) {
  const Array& shape = list(tensor, "shape");
  const std::vector<Holding> held = holdings(tensor);
  if (held.size() == 1) return devices > 1 ? "<p>whole on every device</p>" : "<p>whole</p>";
  std::string out;
  size_t cut_dims = 0;
  std::vector<bool> cut(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    std::set<std::string> distinct;
    for (const Holding& h : held) distinct.insert(range_text(*(*h.ranges)[d].getAsArray()));
    if ((cut[d] = distinct.size() > 1)) ++cut_dims;
  }
  constexpr size_t most_lines = 16;
  if (cut_dims == 1) {
    const size_t d = size_t(std::find(cut.begin(), cut.end(), true) - cut.begin());
    out += "<p class=\"ranges\"><span>" + rows_or_dim(d, shape.size()) + "</span> ";
    for (size_t k = 0; k < held.size(); ++k)
      out += (k ? " | " : "") + std::string("<span>") + who(held[k], devices) + "&nbsp;" +
             range_text(*(*held[k].ranges)[d].getAsArray()) + "</span>";
    out += "</p>";
  } else {
    std::string lines;
    for (const Holding& h : held) {
      lines += "<li>" + who(h, devices) + " ";
      bool first = true;
      for (size_t d = 0; d < shape.size(); ++d)
        if (cut[d])
          lines += (first ? "" : " × ") + rows_or_dim(d, shape.size()) + " " + range_text(*(*h.ranges)[d].getAsArray()),
              first = false;
      lines += "</li>";
    }
    out += "<ul class=\"ranges\">" + lines + "</ul>";
  }
  if (held.size() > most_lines)
    out = "<details><summary>ranges of " + std::to_string(held.size()) + " shards</summary>" + out + "</details>";
  // Bytes only where they differ.
  std::set<int64_t> sizes;
  for (const Holding& h : held) sizes.insert(h.bytes);
  out += "<p>a device holds " +
         (sizes.size() == 1 ? bytes(*sizes.begin())
                            : grouped(*sizes.begin()) + " to " + grouped(*sizes.rbegin()) + " bytes") +
         (held[0].ranks.size() > 1 ? ", on " + std::to_string(held[0].ranks.size()) + " devices each" : "") + "</p>";
  return out;
}
// 768 = 12 × 64: what a dim of several factors is made of, and which is cut.
std::string factors_text(const Object& tensor) {
  std::string out;
  const std::vector<std::string> cuts = dim_shardings(text(tensor, "sharding"));
  const Array& factors = list(tensor, "factors");
  for (size_t d = 0; d < factors.size() && d < cuts.size(); ++d) {
    const Array* f = factors[d].getAsArray();
    if (!f || f->size() < 2) continue;
    llvm::SmallVector<llvm::StringRef> marks;
    llvm::StringRef(cuts[d]).trim("()").split(marks, ' ', -1, false);
    std::string product, which;
    for (size_t k = 0; k < f->size(); ++k) {
      product += (k ? " × " : "") + times(extent_text((*f)[k]));
      if (k < marks.size() && marks[k] != "_")
        which += (which.empty() ? "" : " and ") + std::string("the ") + times(extent_text((*f)[k])) + " over " +
                 escaped(marks[k]);
    }
    if (!which.empty())
      out += "<p>" + rows_or_dim(d, factors.size()) + ": " + times(extent_text(list(tensor, "shape")[d])) + " = " +
             product + ", cut in " + which + "</p>";
  }
  return out;
}
}  // namespace

std::string atlas(const Page& page) {
  double most = 1;
  for (const Kind& k : page.kinds)
    if (list(*k.tensors[0], "shape").size() > 1) most = std::max(most, double(number(*k.tensors[0], "elements")));
  std::string out =
      "<p>Each kind of weight once, cut as the devices hold it. Ranges are first–last index, counted from 0. Hatched: "
      "more than one device holds it. Areas of matrices are to scale, their sides up to 6&thinsp;:&thinsp;1 and from "
      "26 pixels.";
  if (!page.start.empty()) out += " Names begin with <code>" + escaped(page.start) + "</code>; * is a layer.";
  out += "</p>\n<div class=\"atlas\">";
  std::string vectors;  // whole norms and biases: many, small and all the same to look at
  int64_t n_vectors = 0, vector_bytes = 0;
  for (const Kind& k : page.kinds) {
    std::string card;
    const Object& t = *k.tensors[0];
    const size_t n = k.tensors.size();
    card += "<article><h3>" + link(text(t, "name"), k.name) +
            (n > 1 ? " <small>× " + grouped(int64_t(n)) + "</small>" : "") + "</h3>";
    if (!k.user.empty()) card += "<p class=\"note\">used by " + escaped(k.user) + "</p>";
    card += "<p>" + chip(list(t, "shape"), text(t, "sharding")) + " " + escaped(text(t, "dtype")) + ", " +
            bytes(number(t, "bytes")) + (n > 1 ? " each, " + bytes(k.bytes) + " in all" : "") + "</p>" +
            drawing(t, page.devices, most) + ranges_list(t, page.devices) + factors_text(t);
    std::string tied;
    for (const Object* o : k.tensors)
      for (const auto& a : list(*o, "aliases")) {
        bool transposed = false;
        for (const auto& b : list(*o, "transposed_aliases")) transposed |= b.getAsString() == a.getAsString();
        tied += (tied.empty() ? "" : ", ") + link(a.getAsString().value_or("")) + (transposed ? " (transposed)" : "");
      }
    if (!tied.empty()) card += "<p>tied: one tensor with <b>" + tied + "</b></p>";
    card += "<p class=\"note\">" + page.because(t) + "</p>";
    if (n > 1) {
      card += "<details><summary>" + grouped(int64_t(n)) + " names</summary><p class=\"names\">";
      for (const Object* o : k.tensors) card += escaped(text(*o, "name")) + "<br>";
      card += "</p></details>";
    }
    card += "</article>\n";
    if (k.whole && list(t, "shape").size() < 2 && page.devices > 1)
      vectors += card, n_vectors += int64_t(n), vector_bytes += k.bytes;
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
