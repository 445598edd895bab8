// Which extents can be computed from those that are at hand: an expression from its factors, and a dim that one known
// expression has beside others that are known, as past + sequence gives past once sequence is known.
#pragma once
#include <vector>

#include "frontend/ir/dim.h"
#include "llvm/ADT/DenseMap.h"

namespace optp {

class DimSources {
 public:
  struct Source {   // (extent - rest) / coefficient
    size_t extent;  // counted in the order in which they were added
    Dim rest = 0;
    int64_t coefficient = 1;
  };
  void add(llvm::ArrayRef<Dim> extents);  // of two equal ones the first counts
  bool is_known(Dim d) const;
  const Source* find(Dim d) const;  // of what is not computed from its factors
  Dim extent(const Source& source) const { return extents_[source.extent]; }

 private:
  std::vector<Dim> extents_;
  llvm::DenseMap<Dim, Source> sources_;
};

}  // namespace optp
