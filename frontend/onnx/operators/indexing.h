// Elements by index tensors, for operators whose ONNX form is one.
#pragma once
#include "frontend/onnx/lowering.h"

namespace optp {
// y[i, j] = x[index[i, j], j] along axis 0, and so on; index has x's number of dims. `inside`: the indices are known to
// be at least 0 and below the extent.
llvm::Expected<Value*> elements_at(LoweringContext& c, Value& x, Value& index, int64_t axis, bool inside);
}  // namespace optp
