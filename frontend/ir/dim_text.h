// How dims are written: names as words or in quotes, expressions as text. parse_dim is declared with Dim.
#pragma once
#include <optional>
#include <string>

#include "frontend/ir/dim.h"
#include "llvm/ADT/StringRef.h"

namespace optp {
// A name as it stands in an expression.
std::string spelled(llvm::StringRef name);
// The expression that a text begins with; it is taken off.
std::optional<Dim> take_dim(llvm::StringRef& text, const DimBounds& bounds);
}  // namespace optp
