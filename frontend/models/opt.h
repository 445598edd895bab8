// Models of any size from a config, as real ONNX files: opset 17, IR 8, weights in a data file beside the graph.
#pragma once
#include <cstdint>
#include <functional>

#include "frontend/models/config.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

class GraphWriter;

struct BuildOptions {
  uint64_t seed = 0;
  bool with_weights = true;  // false: the graph names a data file which is not written; such a model can be planned
  // Called now and then from the calling thread while weights are drawn, at last with the whole.
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;
};

// Writes PATH, and PATH.data with weights: normal(0, 0.02) about 1 for norms' scales and about 0 for all else. The same
// config and seed give the same bytes on every machine. Each file appears whole or not at all.
llvm::Error build_model(const OptConfig& config, llvm::StringRef path, const BuildOptions& options = {});

// The graphs of the two families; build_model picks one.
void add_opt(GraphWriter& graph, const OptConfig& config);
void add_origin(GraphWriter& graph, const OptConfig& config);

}  // namespace optp
