// ONNX in: a file becomes a typed Graph of core ops. Shapes and shape arithmetic are resolved on the way, so no Shape
// is left.
#pragma once
#include <memory>

#include "frontend/io/limits.h"
#include "frontend/ir/graph.h"

namespace optp {

struct ImportOptions {
  Limits limits;
};
// Errors: not_found, bad_input (all unknown operators at once, each with node, operator, domain and opset).
llvm::Expected<std::unique_ptr<Graph>> import_onnx(llvm::StringRef path, const ImportOptions& options = {});

}  // namespace optp
