#include "frontend/ir/sharding_text.h"

#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
std::string dim_text(const DimSharding& dim, Dim global) {
  if (!dim.is_split()) return "_";
  if (dim.is_product() && dim.factors().size() == 1 && dim.factors()[0].extent == global)
    return joined(dim.factors()[0].axes, "*");
  std::string out;
  for (const ProductSharding& part : dim.parts) {
    out += out.empty() ? "(" : " + (";
    for (const FactorSharding& f : part.factors) {
      if (&f != part.factors.begin()) out += ", ";
      out += f.extent.text();
      if (!f.axes.empty()) out += " over " + joined(f.axes, "*");
    }
    out += ")";
  }
  return out;
}
Axes read_names(TextCursor& in) {
  Axes out;
  do out.push_back(in.name("a mesh axis"));
  while (in.eat("*"));
  return out;
}
AxisUses read_axes(TextCursor& in) {
  AxisUses out;
  for (const std::string& word : read_names(in)) out.push_back(axis_use(word));
  return out;
}
ProductSharding read_product(TextCursor& in) {
  ProductSharding out;
  do {
    const Dim extent = in.dim();
    out.factors.push_back({extent, in.eat_word("over") ? read_axes(in) : AxisUses()});
  } while (in.eat(","));
  in.must(")");
  return out;
}
DimSharding read_dim(TextCursor& in, Dim global) {
  DimSharding out;
  if (in.eat_word("_")) return out;
  if (!in.eat("(")) return FactorShardings{{global, read_axes(in)}};
  out.parts.push_back(read_product(in));
  while (in.eat("+")) {
    in.must("(");
    out.parts.push_back(read_product(in));
  }
  return out;
}
}  // namespace

std::string sharding_text(const Sharding& sharding, llvm::ArrayRef<Dim> global) {
  std::string out = "[";
  for (size_t d = 0; d < sharding.dims.size(); ++d)
    out += (d ? ", " : "") + dim_text(sharding.dims[d], d < global.size() ? global[d] : Dim(0));
  out += "]";
  if (sharding.is_partial())
    out += " partial(" + to_string(sharding.reduce).str() + ": " + llvm::join(sharding.partial, "*") + ")";
  return out;
}

Sharding read_sharding(TextCursor& in, llvm::ArrayRef<Dim> global) {
  Sharding out;
  in.must("[");
  for (Dim d : global) {
    if (!out.dims.empty()) in.must(",");
    out.dims.push_back(read_dim(in, d));
  }
  in.must("]");
  if (!in.eat_word("partial")) return out;
  in.must("(");
  const auto reduce = reduce_from(in.name("sum, max or min"));
  if (!reduce) in.fail_last("sum, max or min");
  out.reduce = reduce.value_or(Reduce::none);
  in.must(":");
  out.partial = read_names(in);
  in.must(")");
  return out;
}
}  // namespace optp
