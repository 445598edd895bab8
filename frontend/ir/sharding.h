// Where a value lives: each dim is a product of factors, major to minor, and mesh axes split factors; axes not named
// hold copies, axes of `partial` hold addends.
//   [_, tensor]   [_, (tensor _)]   [_, _] partial(sum: tensor)
#pragma once
#include <optional>
#include <string>

#include "frontend/ir/dim.h"
#include "frontend/ir/reduce.h"

namespace optp {

using Axes = llvm::SmallVector<std::string, 1>;

struct FactorSharding {
  Dim extent;
  Axes axes;  // outermost first
  bool operator==(const FactorSharding&) const = default;
};
struct DimSharding {
  llvm::SmallVector<FactorSharding, 1> factors;  // empty: not split
  bool is_split() const;
  Dim local_extent(Dim global) const;
};
struct Sharding {
  llvm::SmallVector<DimSharding, 4> dims;
  Reduce reduce = Reduce::none;  // of the partial axes
  Axes partial;

  bool is_replicated() const;
  bool is_partial() const { return !partial.empty(); }
  Axes axes() const;  // all axes named, splits and partial
};
bool same_placement(const Sharding& a, const Sharding& b);  // unsplit factors don't matter
bool same_placement(const DimSharding& a, const DimSharding& b);
std::string to_string(const Sharding& sharding);
// The extents that the text's words stand for: of a dim in parentheses one for each word, where neighbouring whole
// factors are one; of any other its own.
llvm::SmallVector<Dims, 4> factor_extents(llvm::ArrayRef<Dim> dims, const Sharding& sharding);
// What to_string wrote of a tensor of these dims. `extents`: factor_extents, where a dim is in parentheses.
llvm::Expected<Sharding> parse_sharding(llvm::StringRef text, llvm::ArrayRef<Dim> dims,
                                        llvm::ArrayRef<Dims> extents = {});
Sharding replicated(size_t ndim);

Dims local_dims(llvm::ArrayRef<Dim> global, const Sharding& sharding);

}  // namespace optp
