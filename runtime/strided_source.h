// A value read by strides from where its elements were before they were moved, repeated or widened.
#pragma once
#include <vector>

#include "runtime/kernel.h"

namespace optp {

struct StridedSource {
  const Value* value = nullptr;     // whose bytes are read
  StridedLayout layout;             // of the elements asked for, in it
  std::vector<const Node*> passed;  // nodes whose results need not be there for that
};
// Of a value without empty dims: itself first, then what is further and further back. `widened`: half precision in the
// place of float32 made of it, too.
std::vector<StridedSource> strided_sources(const Value& value, bool widened);

// A dim as one stride, 0 where it has one index; none: it has several strides.
std::optional<int64_t> one_stride(llvm::ArrayRef<Factor> dim);

using Extents = llvm::SmallVector<int64_t, 4>;
// The coarsest list of extents that both can be cut into, without ones. None: there is none.
std::optional<Extents> refined(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);
// Strides of these factors when they are cut into `extents`, which they can be.
Extents strides_along(llvm::ArrayRef<Factor> factors, llvm::ArrayRef<int64_t> extents);

}  // namespace optp
