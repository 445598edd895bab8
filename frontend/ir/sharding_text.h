// Shardings in the textual form of graphs. As to_string prints them, but the factors of a dim that several make are
// written with their extents: [_, (3, 12 over tensor, 64)]. So are those of products one after the other:
// [(8 over tensor, 64) + (2 over tensor, 64)]. Of a dim that is whole the factors do not matter.
#pragma once
#include <string>

#include "frontend/ir/sharding.h"
#include "frontend/ir/text_cursor.h"

namespace optp {
std::string sharding_text(const Sharding& sharding, llvm::ArrayRef<Dim> global);
Sharding read_sharding(TextCursor& in, llvm::ArrayRef<Dim> global);
}  // namespace optp
