// What plan.json says of the inputs, outputs and data of rank graphs: docs/plan-schema.md, sections 4, 5 and 9.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/graph.h"
#include "frontend/ir/host_array.h"
#include "frontend/ir/symbolic_shard.h"
#include "llvm/Support/JSON.h"

namespace optp {

struct Port {
  std::string name;
  DType dtype;
  Dims dims;
  std::vector<SymbolicShard> shards;  // what each rank takes or gives
  int64_t rows = 0;                   // of the table that an input of ids indexes
  std::string role, parameter, kind;
  std::optional<Dim> classes;  // of labels: how many there are
};

// `list` is "inputs" or "outputs". Errors: bad_input, where the plan is not as its schema says.
llvm::Expected<std::vector<Port>> ports(const llvm::json::Object& plan, llvm::StringRef list, size_t devices);
llvm::Expected<Shard> shard_of(const Port& port, size_t rank, const DimValues& dims);
// The ranks' shards put together.
llvm::Expected<HostArray> join(const Port& port, const DimValues& dims,
                               llvm::function_ref<const HostArray*(size_t rank)> part);
// Which elements of which whole tensor a rank's initializer of this name has.
llvm::Expected<Shard> data_shard(const llvm::json::Object& plan, llvm::StringRef name, size_t rank);

}  // namespace optp
