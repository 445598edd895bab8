// Weights as a safetensors file (github.com/huggingface/safetensors, "Format"): eight bytes that say how long the
// header is, the header as JSON, then all arrays one behind the other, row-major, little-endian.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/ir/host_array.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"

namespace optp {
using Metadata = std::map<std::string, std::string>;  // by name, under "__metadata__"

// Errors: those of `write`, which gets all of the file in pieces, and a dtype that the format has no word for.
llvm::Error write_safetensors(const HostArrays& arrays, const Metadata& metadata,
                              llvm::function_ref<llvm::Error(llvm::ArrayRef<llvm::ArrayRef<char>>)> write);
}  // namespace optp
