// numpy's .npy files: tensors in and out for users, one array a file.
#pragma once
#include <cstdint>
#include <vector>

#include "frontend/io/limits.h"
#include "frontend/ir/dtype.h"
#include "frontend/ir/host_array.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// Versions 1 to 3, little-endian; Fortran order is turned into C order. The header is parsed, never evaluated, and the
// file must have exactly the bytes that it declares. No pickles, records or strings.
llvm::Expected<HostArray> read_npy(llvm::StringRef path, const Limits& limits = {});
llvm::Expected<HostArray> parse_npy(llvm::StringRef name, llvm::ArrayRef<char> file, const Limits& limits = {});
// Version 1. numpy has no bfloat16: such arrays are written as float32, which holds every bfloat16 exactly.
llvm::Error write_npy(llvm::StringRef path, const HostArray& array);

}  // namespace optp
