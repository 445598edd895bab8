// A shard as plan.json and checkpoint.json have it: for each dim a list of intervals [start, stop], or [start, stop,
// count, stride, …] where an interval is repeated (docs/plan-schema.md, section 1). Ends are numbers or dims as text.
#pragma once
#include "frontend/ir/symbolic_shard.h"
#include "llvm/Support/JSON.h"

namespace optp {

llvm::json::Value to_json(Dim extent);
llvm::Expected<Dim> dim_from(const llvm::json::Value& extent, const DimBounds& bounds = {});

llvm::Expected<SymbolicInterval> interval_from(const llvm::json::Value& extents, const DimBounds& bounds = {});

llvm::json::Array ranges_of(const Shard& shard);
llvm::json::Array ranges_of(const SymbolicShard& shard);
llvm::Expected<SymbolicShard> shard_from(const llvm::json::Array& ranges, llvm::ArrayRef<Dim> whole);

}  // namespace optp
