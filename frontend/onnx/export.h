// ONNX out: a rank's graph as a model of IR 8 and opset 17, with our domain for collectives (docs/collectives.md).
// Weights go to a file beside it, straight from where they are mapped.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "frontend/io/output_transaction.h"
#include "frontend/ir/graph.h"

namespace optp {

struct ExportOptions {
  // What a reader should know of the file beside its rank: "devices", "mesh", "strategy". Keys become
  // "opt_partition.KEY".
  std::map<std::string, std::string> metadata;
  int64_t inline_below_bytes = 1024;  // smaller tensors are kept in the model file
  // False: the graph refers to FOLDER/model.onnx.data, and no such file is written. Constants whose bytes are at hand
  // are then in the model file, whatever their size.
  bool weights = true;
  std::function<void(int64_t bytes)> wrote;  // told now and then how much more is written
};

// Writes FOLDER/model.onnx and FOLDER/model.onnx.data. The graph is one that materialise gave: no part and start terms.
// Fault::not_found names the file of weights that are missing; without `weights` the graph is still written.
llvm::Error write_rank_model(const Graph& rank_graph, OutputTransaction& out, llvm::StringRef folder,
                             const ExportOptions& options = {});

// The bytes of model.onnx alone.
llvm::Expected<std::string> model_bytes(const Graph& rank_graph, const ExportOptions& options = {});

}  // namespace optp
