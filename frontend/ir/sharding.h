// Where a value lives: each dim is a product of factors, major to minor, and mesh axes split factors; axes not named
// hold copies, axes of `partial` hold addends. Where a fused projection's parts are of unequal widths, a dim is several
// products one after the other, and each is split on its own.
//   [_, tensor]   [_, (tensor _)]   [(tensor _) + (tensor _) + (tensor _), _]   [_, _] partial(sum: tensor)
#pragma once
#include <optional>
#include <string>

#include "frontend/ir/dim.h"
#include "frontend/ir/reduce.h"

namespace optp {

using Axes = llvm::SmallVector<std::string, 0>;  // names

struct FactorSharding {
  Dim extent;
  AxisUses axes;  // outermost first
  bool operator==(const FactorSharding&) const = default;
};
using FactorShardings = llvm::SmallVector<FactorSharding, 1>;
// Of a dim, or of one of the products that it consists of.
struct ProductSharding {
  FactorShardings factors;
  bool is_split() const;
  Dim extent() const;
  Dim local_extent() const;
  bool operator==(const ProductSharding&) const = default;
};
struct DimSharding {
  llvm::SmallVector<ProductSharding, 1> parts;  // one after the other; none: not split

  DimSharding() = default;
  DimSharding(FactorShardings factors) : parts{ProductSharding{std::move(factors)}} {}  // NOLINT: one product is a dim
  bool is_product() const { return parts.size() <= 1; }
  // Of a dim that is one product: its factors, none where nothing is known of them.
  FactorShardings& factors();
  const FactorShardings& factors() const;
  bool is_split() const;
  Dim local_extent(Dim global) const;
  AxisUses axes() const;  // each once, though it may split several parts
};
struct Sharding {
  llvm::SmallVector<DimSharding, 4> dims;
  Reduce reduce = Reduce::none;  // of the partial axes
  Axes partial;

  bool is_replicated() const;
  bool is_partial() const { return !partial.empty(); }
  AxisUses axes() const;  // all, of splits and partial
};
bool same_placement(const Sharding& a, const Sharding& b);  // unsplit factors don't matter
bool same_placement(const DimSharding& a, const DimSharding& b);
// `counted`, which nothing reads: equal parts one after the other are one, [_, 3×(tensor _)].
std::string to_string(const Sharding& sharding, bool counted = false);
// The extents that the text's words stand for: of a dim in parentheses one for each word, where neighbouring whole
// factors of a part are one; of any other its own.
llvm::SmallVector<Dims, 4> factor_extents(llvm::ArrayRef<Dim> dims, const Sharding& sharding);
// What to_string wrote of a tensor of these dims. `extents`: factor_extents, where a dim is in parentheses.
llvm::Expected<Sharding> parse_sharding(llvm::StringRef text, llvm::ArrayRef<Dim> dims,
                                        llvm::ArrayRef<Dims> extents = {});
Sharding replicated(size_t ndim);

Dims local_dims(llvm::ArrayRef<Dim> global, const Sharding& sharding);

}  // namespace optp
