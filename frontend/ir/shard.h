// Which elements of a whole tensor a rank holds: for each dim a list of intervals. The rank's own tensor has exactly
// these indices, in this order, dim by dim.
//   [0:768, 0:12+20:32] of [768, 60]
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/sharding.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

namespace optp {

using Extents = llvm::SmallVector<int64_t, 4>;

struct Interval {
  int64_t start = 0, stop = 0;  // without `stop`
  int64_t size() const { return stop - start; }
  bool operator==(const Interval&) const = default;
};
// Of one dim: ascending, no two of them touch, none is empty. Only a dim of which nothing is held has the one [0, 0).
using ShardDim = llvm::SmallVector<Interval, 1>;

struct Shard {
  Extents whole;  // the whole tensor's extents
  llvm::SmallVector<ShardDim, 4> dims;

  static Shard whole_of(llvm::ArrayRef<int64_t> whole);
  // What `rank` holds. The factors' extents must be numbers.
  static Shard of(llvm::ArrayRef<int64_t> whole, const Sharding& sharding, const Mesh& mesh, int64_t rank);
  // Of each rank of the mesh.
  static std::vector<Shard> of_all(llvm::ArrayRef<int64_t> whole, const Sharding& sharding, const Mesh& mesh);
  // The balanced chunk of member i of n along one dim, all of the others.
  static Shard chunk_of(llvm::ArrayRef<int64_t> whole, size_t dim, int64_t n, int64_t i);
  // Intervals from outside. They must lie in the whole, ascend and not overlap; those that touch become one.
  static llvm::Expected<Shard> checked(llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<ShardDim> dims);

  Extents shape() const;  // of the rank's own tensor
  int64_t elements() const;
  bool is_whole() const;
  bool operator==(const Shard&) const = default;
};

// "[0:768, 0:12+20:32] of [768, 60]". `most`: of a dim only so many intervals, and how many more there are.
std::string to_string(const Shard& shard, size_t most = size_t(-1));
llvm::Expected<Shard> parse_shard(llvm::StringRef text);
llvm::Expected<Shard> take_shard(llvm::StringRef& rest);  // from the front of `rest`

// Calls `visit` with first element and length of each run of the whole's row-major elements, in ascending order.
// Neighbours are one run.
void for_each_run(const Shard& shard, llvm::function_ref<void(int64_t start, int64_t length)> visit);

// Dense row-major arrays, as bytes: `part` is what the shard holds of `whole`.
void take(const Shard& shard, llvm::ArrayRef<char> whole, llvm::MutableArrayRef<char> part, int64_t element_bytes);
void put(const Shard& shard, llvm::MutableArrayRef<char> whole, llvm::ArrayRef<char> part, int64_t element_bytes);

// The first element, row-major, that none of the shards of one whole holds.
std::optional<Extents> held_by_none(llvm::ArrayRef<int64_t> whole, llvm::ArrayRef<Shard> shards);

}  // namespace optp
