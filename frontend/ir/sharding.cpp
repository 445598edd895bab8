#include "frontend/ir/sharding.h"

#include "frontend/ir/diagnostic.h"

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

bool DimSharding::is_split() const {
  return llvm::any_of(factors, [](const FactorSharding& f) { return !f.axes.empty(); });
}
Dim DimSharding::local_extent(Dim global) const {
  if (!is_split()) return global;
  Dim p = 1;
  for (const FactorSharding& f : factors) p = p * Dim::part(f.extent, f.axes);
  return p;
}
bool Sharding::is_replicated() const {
  return partial.empty() && llvm::none_of(dims, [](const DimSharding& d) { return d.is_split(); });
}
Axes Sharding::axes() const {
  Axes out = partial;
  for (const DimSharding& d : dims)
    for (const FactorSharding& f : d.factors) out.append(f.axes.begin(), f.axes.end());
  return out;
}

bool same_placement(const DimSharding& a, const DimSharding& b) {
  if (!a.is_split() && !b.is_split()) return true;
  // Neighbouring whole factors are one block: (12 split, 8, 8) places like (12 split, 64).
  auto blocks = [](const DimSharding& d) {
    llvm::SmallVector<FactorSharding, 4> out;
    for (const FactorSharding& f : d.factors) {
      if (f.axes.empty() && (f.extent.is(1) || (!out.empty() && out.back().axes.empty()))) {
        if (!f.extent.is(1)) out.back().extent = out.back().extent * f.extent;
      } else {
        out.push_back(f);
      }
    }
    return out;
  };
  return blocks(a) == blocks(b);
}
bool same_placement(const Sharding& a, const Sharding& b) {
  if (a.partial != b.partial || (a.is_partial() && a.reduce != b.reduce) || a.dims.size() != b.dims.size())
    return false;
  for (size_t i = 0; i < a.dims.size(); ++i)
    if (!same_placement(a.dims[i], b.dims[i])) return false;
  return true;
}

namespace {
std::string joined(llvm::ArrayRef<std::string> axes) {
  std::string out;
  for (const std::string& axis : axes) out += (out.empty() ? "" : "*") + axis;
  return out.empty() ? "_" : out;
}
}  // namespace

std::string to_string(const Sharding& sharding) {
  std::string out = "[";
  for (size_t i = 0; i < sharding.dims.size(); ++i) {
    if (i) out += ", ";
    const DimSharding& d = sharding.dims[i];
    if (!d.is_split()) {
      out += "_";
    } else if (d.factors.size() == 1) {
      out += joined(d.factors[0].axes);
    } else {
      // Whole factors next to each other are one "_": what matters is which block is cut.
      out += "(";
      bool first = true, last_whole = false;
      for (const FactorSharding& f : d.factors) {
        const bool whole = f.axes.empty();
        if (whole && last_whole) continue;
        if (!first) out += " ";
        out += joined(f.axes);
        first = false;
        last_whole = whole;
      }
      out += ")";
    }
  }
  out += "]";
  if (sharding.is_partial())
    out += " partial(" + to_string(sharding.reduce).str() + ": " + joined(sharding.partial) + ")";
  return out;
}

llvm::SmallVector<Dims, 4> factor_extents(llvm::ArrayRef<Dim> dims, const Sharding& sharding) {
  llvm::SmallVector<Dims, 4> out;
  for (size_t d = 0; d < dims.size(); ++d) {
    Dims& extents = out.emplace_back();
    bool last_whole = false;
    for (const FactorSharding& f : sharding.dims[d].factors) {
      const bool whole = f.axes.empty();
      if (whole && last_whole)
        extents.back() = extents.back() * f.extent;
      else
        extents.push_back(f.extent);
      last_whole = whole;
    }
    if (!sharding.dims[d].is_split()) extents = {dims[d]};
  }
  return out;
}

namespace {
// "_", "tensor", "data*tensor"
std::optional<Axes> parse_axes(llvm::StringRef word) {
  Axes out;
  if (word == "_") return out;
  llvm::SmallVector<llvm::StringRef, 2> names;
  word.split(names, '*');
  for (llvm::StringRef name : names) {
    if (name.empty() || name == "_" || name.find_first_of("[](),*: ") != llvm::StringRef::npos) return std::nullopt;
    out.push_back(name.str());
  }
  return out;
}
// "_", "tensor", "(_ tensor _)". `extents`: of the words in parentheses.
std::optional<DimSharding> parse_dim_sharding(llvm::StringRef text, Dim dim, llvm::ArrayRef<Dim> extents) {
  DimSharding out;
  llvm::SmallVector<llvm::StringRef, 4> words{text};
  const Dim own[] = {dim};
  if (text.consume_front("(")) {
    if (!text.consume_back(")")) return std::nullopt;
    words.clear();
    text.split(words, ' ', -1, /*KeepEmpty=*/false);
  } else {
    extents = own;
  }
  if (words.size() != extents.size()) return std::nullopt;
  for (size_t k = 0; k < words.size(); ++k) {
    auto axes = parse_axes(words[k]);
    if (!axes) return std::nullopt;
    out.factors.push_back({extents[k], std::move(*axes)});
  }
  return out;
}
std::optional<Sharding> parsed(llvm::StringRef text, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Dims> extents) {
  Sharding out;
  llvm::StringRef rest = text;
  if (!rest.consume_front("[")) return std::nullopt;
  const size_t end = rest.find(']');
  if (end == llvm::StringRef::npos) return std::nullopt;
  llvm::SmallVector<llvm::StringRef, 4> words;
  if (end > 0) rest.take_front(end).split(words, ',');
  rest = rest.drop_front(end + 1);
  if (words.size() != dims.size() || (!extents.empty() && extents.size() != dims.size())) return std::nullopt;
  for (size_t d = 0; d < dims.size(); ++d) {
    auto dim = parse_dim_sharding(words[d].trim(), dims[d], extents.empty() ? llvm::ArrayRef<Dim>() : extents[d]);
    if (!dim) return std::nullopt;
    out.dims.push_back(std::move(*dim));
  }
  if (rest.empty()) return out;
  if (!rest.consume_front(" partial(") || !rest.consume_back(")")) return std::nullopt;
  const auto [reduce, names] = rest.split(": ");
  const auto kind = reduce_from(reduce);
  auto axes = parse_axes(names);
  if (!kind || !axes || axes->empty()) return std::nullopt;
  out.reduce = *kind, out.partial = std::move(*axes);
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
