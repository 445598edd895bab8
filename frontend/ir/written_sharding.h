// The text of a sharding, word by word, before it is known what it is of: what plans have and what users write.
//   [_, tensor]   [_, (tensor _)]   [(tensor _) + (_), data*tensor]
#pragma once
#include <optional>

#include "frontend/ir/sharding.h"

namespace optp {

struct WrittenDim {
  bool by_factors = false;  // in parentheses; else one part of one word, which is the whole dim's
  llvm::SmallVector<llvm::SmallVector<AxisUses, 2>, 1> parts;  // one after the other, and the words of each
};
// "_", "tensor", "data*tensor"; none: it is not a word of a sharding.
std::optional<AxisUses> written_axes(llvm::StringRef word);
// With its brackets. None: it is not written like a sharding.
std::optional<llvm::SmallVector<WrittenDim, 4>> written_dims(llvm::StringRef text);

}  // namespace optp
