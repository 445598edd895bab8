// How addends of a partial value are joined.
#pragma once
#include <cstdint>
#include <optional>

#include "llvm/ADT/StringRef.h"

namespace optp {
enum class Reduce : uint8_t { none, sum, max, min };
llvm::StringRef to_string(Reduce reduce);
std::optional<Reduce> reduce_from(llvm::StringRef text);
}  // namespace optp
