// What the names in a file tell of the source that it was exported from.
#pragma once
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/graph.h"
#include "llvm/ADT/StringSet.h"

namespace onnx {
class GraphProto;
class ModelProto;
class NodeProto;
}  // namespace onnx

namespace optp {
// The newer PyTorch exporter notes modules in the node's metadata; the older one, and others, put them in its name:
// "/decoder/layers.0/fc1/MatMul_1". Unknown where there is neither.
ModulePath module_of(const onnx::NodeProto& node);

// A tensor's name that an exporter or optimiser made up, so that it names nothing of the model: onnx::MatMul_363,
// val_12.
bool is_generated_name(llvm::StringRef name);

// Of an error during import, before passes/recover_names.cpp is there to tell: what the model's source calls the module
// of a node, or a weight whose name was made up, as the names of parameters beside it spell it. Empty: not known.
std::string source_of(const Place& place, const onnx::GraphProto& graph);

// Initializers that PyTorch's newer exporter notes to be buffers: a module has them beside its parameters, and no
// optimizer changes them. The older exporter does not tell the one from the other.
llvm::StringSet<> buffers_of(const onnx::GraphProto& graph);

// Was the file written by PyTorch, whose newer exporter drops a bias of zeros from Gemm?
bool drops_zero_bias(const onnx::ModelProto& model);
// Does the node's metadata say that what it was exported from had no bias? Of other nodes nothing is known.
bool is_known_without_bias(const onnx::NodeProto& node);
}  // namespace optp
