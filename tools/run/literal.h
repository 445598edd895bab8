// Small arrays that are typed in: 1,2,3 or [[1, 2], [3, 4]].
#pragma once
#include "frontend/ir/host_array.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {
bool is_literal(llvm::StringRef text);  // it begins as one
// Brackets say the shape. A list without any runs along the last of `ndim` dims, and the dims before it are 1. Errors
// have no place: rows of different lengths, a number that `dtype` does not hold, what is no number.
llvm::Expected<HostArray> parse_literal(llvm::StringRef text, DType dtype, size_t ndim);
}  // namespace optp
