// Weights as a safetensors file (github.com/huggingface/safetensors, "Format"): eight bytes that say how long the
// header is, the header as JSON, then all arrays one behind the other, row-major, little-endian.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "frontend/ir/host_array.h"
#include "llvm/Support/Error.h"

namespace optp {
// `metadata`: strings by name, under "__metadata__". The file appears whole or not at all. Errors: those of writing,
// and a dtype that the format has no word for.
llvm::Error write_safetensors(llvm::StringRef path, const HostArrays& arrays,
                              const std::map<std::string, std::string>& metadata);

// A matrix with rows and columns exchanged.
HostArray transposed(const HostArray& matrix);
}  // namespace optp
