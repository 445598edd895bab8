// Arrays of given numbers, for tests of operators.
#pragma once
#include <vector>

#include "frontend/ir/op.h"

namespace optp {
inline Array floats(llvm::ArrayRef<int64_t> dims, std::vector<double> values) {
  Array a;
  a.resize(/*floating=*/true, dims);
  a.f = std::move(values);
  return a;
}
inline Array integers(llvm::ArrayRef<int64_t> dims, std::vector<int64_t> values) {
  Array a;
  a.resize(/*floating=*/false, dims);
  a.i = std::move(values);
  return a;
}
// Numbers between -3 and 3, others for another seed.
inline Array some(llvm::ArrayRef<int64_t> dims, int64_t seed = 0) {
  Array a;
  a.resize(/*floating=*/true, dims);
  for (size_t k = 0; k < a.f.size(); ++k) a.f[k] = double((int64_t(k) * 31 + seed * 7) % 19) / 3 - 3;
  return a;
}
}  // namespace optp
