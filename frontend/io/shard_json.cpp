#include "frontend/io/shard_json.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
using JsonArray = llvm::json::Array;

llvm::json::Value to_json(Dim extent) {
  if (auto n = extent.constant()) return *n;
  return extent.text();
}
llvm::Expected<Dim> dim_from(const llvm::json::Value& extent, const DimBounds& bounds) {
  if (auto n = extent.getAsInteger()) return Dim(*n);
  if (auto text = extent.getAsString()) return parse_dim(*text, bounds);
  return error(Code::shape_mismatch).expected("an extent");
}

JsonArray ranges_of(const Shard& shard) {
  JsonArray out;
  for (const ShardDim& dim : shard.dims) {
    JsonArray list;
    for (const Interval& i : dim) list.push_back(JsonArray{i.start, i.stop});
    out.push_back(std::move(list));
  }
  return out;
}
JsonArray ranges_of(const SymbolicShard& shard) {
  JsonArray out;
  for (const SymbolicShardDim& dim : shard.dims) {
    JsonArray list;
    for (const SymbolicInterval& i : dim) {
      JsonArray ends{to_json(i.start), to_json(i.stop)};
      for (const auto& r : i.repeats) ends.push_back(to_json(r.count)), ends.push_back(to_json(r.stride));
      list.push_back(std::move(ends));
    }
    out.push_back(std::move(list));
  }
  return out;
}

llvm::Expected<SymbolicInterval> interval_from(const llvm::json::Value& value, const DimBounds& bounds) {
  const JsonArray* numbers = value.getAsArray();
  if (!numbers || numbers->size() < 2 || numbers->size() % 2 != 0)
    return error(Code::shape_mismatch).expected("an interval of 2 extents, and pairs of 2 more");
  llvm::SmallVector<Dim, 4> dims;
  for (const auto& number : *numbers) {
    auto d = dim_from(number, bounds);
    if (!d) return d.takeError();
    dims.push_back(*d);
  }
  SymbolicInterval out{dims[0], dims[1], {}};
  for (size_t k = 2; k < dims.size(); k += 2) out.repeats.push_back({dims[k], dims[k + 1]});
  return out;
}

llvm::Expected<SymbolicShard> shard_from(const JsonArray& ranges, llvm::ArrayRef<Dim> whole) {
  if (ranges.size() != whole.size())
    return error(Code::shape_mismatch)
        .expected("intervals of " + llvm::Twine(whole.size()) + " dims")
        .found(ranges.size());
  SymbolicShard out;
  out.whole.assign(whole.begin(), whole.end());
  for (const auto& dim : ranges) {
    SymbolicShardDim& to = out.dims.emplace_back();
    if (!dim.getAsArray()) return error(Code::shape_mismatch).expected("a list of intervals for each dim");
    for (const auto& value : *dim.getAsArray()) {
      auto interval = interval_from(value);
      if (!interval) return interval.takeError();
      to.push_back(std::move(*interval));
    }
  }
  return out;
}
}  // namespace optp
