// Which inputs of a file are key/value caches.
#pragma once
#include <onnx/onnx_pb.h>

#include "frontend/ir/graph.h"
#include "llvm/ADT/StringSet.h"

namespace optp {
// Inputs that an output extends: what goes in comes out with more behind it, moved but not computed with. Only of these
// may a length be 0; frames of an encoder or an image are of the same type and rank, and of none of them nothing can be
// computed.
llvm::StringSet<> extended_inputs(const onnx::ModelProto& model);
// What an input must be to be a cache.
inline bool may_be_cache(const Type& type) { return is_float(type.dtype) && type.dims.size() >= 3; }
// Of a rank's graph, where the caches' outputs may be gone: extents of such inputs, and of no others, that are at least
// 1. They go into the file, as its import would take them for lengths of caches.
llvm::SmallVector<std::string, 0> never_zero_names(llvm::ArrayRef<Value*> inputs);
}  // namespace optp
