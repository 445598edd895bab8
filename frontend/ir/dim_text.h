// How dims are written: names as words or in quotes, expressions as text. parse_dim is declared with Dim.
#pragma once
#include <string>

#include "llvm/ADT/StringRef.h"

namespace optp {
// A name as it stands in an expression.
std::string spelled(llvm::StringRef name);
}  // namespace optp
