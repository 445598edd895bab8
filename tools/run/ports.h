// What plan.json says of the inputs, outputs and data of rank graphs: docs/plan-schema.md, sections 4, 5 and 9.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "llvm/Support/JSON.h"
#include "tools/run/draw_weights.h"
#include "tools/run/execution.h"

namespace optp {

struct Port {
  std::string name;
  DType dtype;
  Dims dims;
  const llvm::json::Array* ranks;  // of the plan, which outlives this
  int64_t rows = 0;                // of the table that an input of ids indexes
  std::string role, parameter, kind;
  std::optional<Dim> classes;  // of labels: how many there are
};

// `list` is "inputs" or "outputs". Errors: bad_input, where the plan is not as its schema says.
llvm::Expected<std::vector<Port>> ports(const llvm::json::Object& plan, llvm::StringRef list, size_t devices);
// Which indices of each dim of the whole a rank takes or gives.
llvm::Expected<Indices> rank_indices(const Port& port, size_t rank, const DimValues& dims,
                                     llvm::ArrayRef<int64_t> whole);
// The ranks' parts put together.
llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part, size_t devices);
// Which part of which whole tensor a rank's initializer is.
llvm::Expected<Shard> shard_in(const llvm::json::Object& plan, llvm::StringRef name, size_t rank);

}  // namespace optp
