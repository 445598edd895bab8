// Which inputs of a file are key/value caches.
#pragma once
#include <onnx/onnx_pb.h>

#include "llvm/ADT/StringSet.h"

namespace optp {
// Inputs that an output extends: what goes in comes out with more behind it, moved but not computed with. Only of these
// may a length be 0; frames of an encoder or an image are of the same type and rank, and of none of them nothing can be
// computed.
llvm::StringSet<> extended_inputs(const onnx::ModelProto& model);
}  // namespace optp
