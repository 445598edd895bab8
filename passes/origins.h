// What the ONNX operator that a node came from tells and the node itself does not: the operator says what its operands
// are, while what it was lowered to could be anyone's. Of these alone passes read an operator's name.
#pragma once
#include "frontend/ir/graph.h"

namespace optp {

// Of LayerNormalization, RMSNormalization, SkipLayerNormalization …: it must be given a scale, though a model has none.
inline bool is_from_normalization(const Node& node) { return llvm::StringRef(node.origin).contains("Normalization"); }
// Its operands are activations and tables of sines by definition.
inline bool is_from_rotary_embedding(const Node& node) { return node.origin == "RotaryEmbedding"; }

}  // namespace optp
