// A folder of arrays that a run gives.
#pragma once
#include <string>

#include "frontend/ir/host_array.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace optp {
// All outputs or none: they lie in a hidden folder until the last is written. `index`: text of an index.json; empty:
// none. Errors: cannot_write, interrupted.
llvm::Error write_outputs(const std::string& folder, llvm::ArrayRef<std::string> files,
                          llvm::ArrayRef<HostArray> arrays, llvm::StringRef index);
}  // namespace optp
