#include "frontend/ir/sharding.h"

#include <cassert>

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/written_sharding.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {

llvm::StringRef to_string(Reduce reduce) {
  switch (reduce) {
    case Reduce::sum:
      return "sum";
    case Reduce::max:
      return "max";
    case Reduce::min:
      return "min";
    case Reduce::none:
      break;
  }
  return "none";
}
std::optional<Reduce> reduce_from(llvm::StringRef text) {
  for (Reduce r : {Reduce::sum, Reduce::max, Reduce::min})
    if (to_string(r) == text) return r;
  return std::nullopt;
}

bool ProductSharding::is_split() const {
  return llvm::any_of(factors, [](const FactorSharding& f) { return !f.axes.empty(); });
}
Dim ProductSharding::extent() const {
  Dim p = 1;
  for (const FactorSharding& f : factors) p = p * f.extent;
  return p;
}
Dim ProductSharding::local_extent() const {
  Dim p = 1;
  for (const FactorSharding& f : factors) p = p * Dim::part(f.extent, f.axes);
  return p;
}
FactorShardings& DimSharding::factors() {
  assert(is_product() && "a dim of several products has no factors of its own");
  if (parts.empty()) parts.emplace_back();
  return parts.front().factors;
}
const FactorShardings& DimSharding::factors() const {
  static const FactorShardings none;
  assert(is_product() && "a dim of several products has no factors of its own");
  return parts.empty() ? none : parts.front().factors;
}
bool DimSharding::is_split() const {
  return llvm::any_of(parts, [](const ProductSharding& p) { return p.is_split(); });
}
Dim DimSharding::local_extent(Dim global) const {
  if (!is_split()) return global;
  Dim sum = 0;
  for (const ProductSharding& p : parts) sum = sum + p.local_extent();
  return sum;
}
AxisUses DimSharding::axes() const {
  AxisUses out;
  for (const ProductSharding& p : parts)
    for (const FactorSharding& f : p.factors)
      for (const AxisUse& use : f.axes)
        if (!llvm::is_contained(out, use)) out.push_back(use);
  return out;
}
bool Sharding::is_replicated() const {
  return partial.empty() && llvm::none_of(dims, [](const DimSharding& d) { return d.is_split(); });
}
AxisUses Sharding::axes() const {
  AxisUses out(partial.begin(), partial.end());
  for (const DimSharding& d : dims) llvm::append_range(out, d.axes());
  return out;
}

namespace {
// Neighbouring whole factors are one block: (12 split, 8, 8) places like (12 split, 64).
FactorShardings blocks(const ProductSharding& p) {
  FactorShardings out;
  for (const FactorSharding& f : p.factors) {
    if (f.axes.empty() && (f.extent.is(1) || (!out.empty() && out.back().axes.empty()))) {
      if (!f.extent.is(1)) out.back().extent = out.back().extent * f.extent;
    } else {
      out.push_back(f);
    }
  }
  return out;
}
}  // namespace
bool same_placement(const DimSharding& a, const DimSharding& b) {
  if (!a.is_split() && !b.is_split()) return true;
  return llvm::equal(a.parts, b.parts, [](const auto& x, const auto& y) { return blocks(x) == blocks(y); });
}
bool same_placement(const Sharding& a, const Sharding& b) {
  if (a.partial != b.partial || (a.is_partial() && a.reduce != b.reduce) || a.dims.size() != b.dims.size())
    return false;
  for (size_t i = 0; i < a.dims.size(); ++i)
    if (!same_placement(a.dims[i], b.dims[i])) return false;
  return true;
}

namespace {
std::string word_of(llvm::ArrayRef<AxisUse> axes) { return axes.empty() ? "_" : joined(axes, "*"); }
// What a product's text has a word for: neighbouring whole factors are one, and one "_". What matters is which block is
// cut.
FactorShardings words_of(const ProductSharding& p) {
  FactorShardings out;
  for (const FactorSharding& f : p.factors)
    if (f.axes.empty() && !out.empty() && out.back().axes.empty())
      out.back().extent = out.back().extent * f.extent;
    else
      out.push_back(f);
  return out;
}
std::string in_parentheses(const ProductSharding& p) {
  std::string out;
  for (const FactorSharding& f : words_of(p)) out += (out.empty() ? "(" : " ") + word_of(f.axes);
  return out + ")";
}
std::string text_of(const DimSharding& d, bool counted) {
  if (!d.is_split()) return "_";
  if (d.is_product() && d.factors().size() == 1) return word_of(d.factors()[0].axes);
  std::string out;
  for (size_t k = 0, count = 1; k < d.parts.size(); k += count, count = 1) {
    const std::string part = in_parentheses(d.parts[k]);
    while (counted && k + count < d.parts.size() && in_parentheses(d.parts[k + count]) == part) ++count;
    out += (out.empty() ? "" : " + ") + (count > 1 ? std::to_string(count) + "×" : "") + part;
  }
  return out;
}
}  // namespace

std::string to_string(const Sharding& sharding, bool counted) {
  std::string out = "[";
  for (size_t i = 0; i < sharding.dims.size(); ++i) out += (i ? ", " : "") + text_of(sharding.dims[i], counted);
  out += "]";
  if (sharding.is_partial())
    out += " partial(" + to_string(sharding.reduce).str() + ": " + llvm::join(sharding.partial, "*") + ")";
  return out;
}

llvm::SmallVector<Dims, 4> factor_extents(llvm::ArrayRef<Dim> dims, const Sharding& sharding) {
  llvm::SmallVector<Dims, 4> out;
  for (size_t d = 0; d < dims.size(); ++d) {
    Dims& extents = out.emplace_back();
    if (!sharding.dims[d].is_split())
      extents = {dims[d]};
    else
      for (const ProductSharding& p : sharding.dims[d].parts)
        for (const FactorSharding& f : words_of(p)) extents.push_back(f.extent);
  }
  return out;
}

namespace {
// The words, each with its extent: of a dim in parentheses so many are taken from the front of `extents`.
std::optional<DimSharding> with_extents(const WrittenDim& written, Dim dim, llvm::ArrayRef<Dim> extents) {
  if (!written.by_factors) return DimSharding(FactorShardings{{dim, written.parts[0][0]}});
  DimSharding out;
  for (const auto& words : written.parts) {
    ProductSharding& product = out.parts.emplace_back();
    if (words.size() > extents.size()) return std::nullopt;
    for (const AxisUses& axes : words) {
      product.factors.push_back({extents.front(), axes});
      extents = extents.drop_front();
    }
  }
  if (!extents.empty()) return std::nullopt;
  return out;
}
std::optional<Sharding> parsed(llvm::StringRef text, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Dims> extents) {
  Sharding out;
  const size_t end = text.find(']');
  if (end == llvm::StringRef::npos) return std::nullopt;
  const auto written = written_dims(text.take_front(end + 1));
  llvm::StringRef rest = text.drop_front(end + 1);
  if (!written || written->size() != dims.size() || (!extents.empty() && extents.size() != dims.size()))
    return std::nullopt;
  for (size_t d = 0; d < dims.size(); ++d) {
    auto dim = with_extents((*written)[d], dims[d], extents.empty() ? llvm::ArrayRef<Dim>() : extents[d]);
    if (!dim) return std::nullopt;
    out.dims.push_back(std::move(*dim));
  }
  if (rest.empty()) return out;
  if (!rest.consume_front(" partial(") || !rest.consume_back(")")) return std::nullopt;
  const auto [reduce, names] = rest.split(": ");
  const auto kind = reduce_from(reduce);
  auto axes = written_axes(names);
  if (!kind || !axes || axes->empty() || has_cover(*axes)) return std::nullopt;
  out.reduce = *kind;
  for (const AxisUse& use : *axes) out.partial.push_back(use.axis);
  return out;
}
}  // namespace

llvm::Expected<Sharding> parse_sharding(llvm::StringRef text, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Dims> extents) {
  if (auto out = parsed(text, dims, extents)) return std::move(*out);
  return error(Code::shape_mismatch)
      .expected("a sharding of " + llvm::Twine(dims.size()) +
                " dims, such as '[_, tensor]' or, with the extents of the factors, '[(_ tensor), _]'")
      .found(quoted(text));
}

Sharding replicated(size_t ndim) {
  Sharding s;
  s.dims.resize(ndim);
  return s;
}

Dims local_dims(llvm::ArrayRef<Dim> global, const Sharding& sharding) {
  Dims out;
  for (size_t i = 0; i < global.size(); ++i) out.push_back(sharding.dims[i].local_extent(global[i]));
  return out;
}
}  // namespace optp
