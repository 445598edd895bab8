// A shard of a tensor whose extents are not all known yet, such as an open batch: its ends are dims.
//   [0:floor((batch+1)/2), 0:768] of [batch, 768]
// Where a dim has a factor of unknown extent above a split one, as batch*12 cut by its heads, the number of intervals
// is unknown, too: then one interval is repeated.
//   [0:6 (batch times, 12 apart)] of [12*batch]
#pragma once
#include "frontend/ir/shard.h"

namespace optp {

struct SymbolicInterval {
  struct Repeat {
    Dim count, stride;  // this often, the starts `stride` apart
    bool operator==(const Repeat&) const = default;
  };
  Dim start, stop;
  llvm::SmallVector<Repeat, 1> repeats;  // outermost first; each of its repetitions is repeated as the next one says

  Dim size() const;  // with all repetitions
  bool operator==(const SymbolicInterval&) const = default;
};
using SymbolicShardDim = llvm::SmallVector<SymbolicInterval, 1>;

struct SymbolicShard {
  Dims whole;
  llvm::SmallVector<SymbolicShardDim, 4> dims;

  static SymbolicShard of(llvm::ArrayRef<Dim> whole, const Sharding& sharding, const Mesh& mesh, int64_t rank);

  Dims shape() const;  // of the rank's own tensor
  // Errors: a dim without a value; intervals that are out of the whole or out of order, as a file may have them.
  llvm::Expected<Shard> bind(const DimValues& values) const;
  bool operator==(const SymbolicShard&) const = default;
};

std::string to_string(const SymbolicShard& shard);

}  // namespace optp
