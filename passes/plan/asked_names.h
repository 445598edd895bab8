// --dim NAME=N: a name that nothing has is a mistake.
#pragma once
#include <string>

#include "frontend/ir/dim.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace optp {
// `what` is asked: "model" or "plan"; `known`: what may be. Errors: usage, with all that may be.
llvm::Error check_asked_names(llvm::StringRef what, llvm::ArrayRef<std::string> known, const DimValues& asked);
}  // namespace optp
