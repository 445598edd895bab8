// plan.json (docs/plan-schema.md): where every tensor lives and what is communicated.
#pragma once
#include "llvm/Support/JSON.h"
#include "passes/plan/job.h"

namespace optp {

// `examples`: the dims at which plain numbers are given.
// Texts in it point into the job, which must outlive it.
llvm::Expected<llvm::json::Value> make_plan(const Job& job, const DimValues& examples, llvm::StringRef version,
                                            bool weights);
// All dims of the graph: as asked, else 1 (batch), 128 (sequence).
DimValues example_dims(const Graph& graph, const DimValues& asked);
llvm::json::Value mesh_json(const Mesh& mesh);
llvm::Expected<llvm::json::Value> read_plan(llvm::StringRef folder);  // checked
llvm::Error check_plan(const std::string& path, const llvm::json::Object& plan);
bool weights_missing(const Graph& graph);

}  // namespace optp
