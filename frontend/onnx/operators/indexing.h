// Elements by index tensors, for operators whose ONNX form is one.
#pragma once
#include "frontend/onnx/lowering.h"

namespace optp {
// An index along one dim of several.
struct Component {
  Value* index;
  bool inside;  // known to be at least 0 and below the dim's extent
};
llvm::Expected<Value*> index_operand(LoweringContext& c);  // operand 1: int64 or int32
// Where an index along each of the leading `dims` leads to, of these dims flattened. An index outside of its dim leads
// behind all.
llvm::Expected<Value*> flat_row(LoweringContext& c, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Component> components);
Dims flattened(llvm::ArrayRef<Dim> dims, size_t leading);
// The components of index tuples, which the last dim holds: at most `most` of them.
llvm::Expected<llvm::SmallVector<Component, 4>> components_of(LoweringContext& c, Value& index, size_t most);
// Of an index along one axis that has x's number of dims: its own place along the others.
llvm::Expected<llvm::SmallVector<Component, 4>> components_along(LoweringContext& c, const Value& x, Value& index,
                                                                 int64_t axis, bool inside);
// y[i, j] = x[index[i, j], j] along axis 0, and so on; index has x's number of dims. `inside`: the indices are known to
// be at least 0 and below the extent.
llvm::Expected<Value*> elements_at(LoweringContext& c, Value& x, Value& index, int64_t axis, bool inside);
}  // namespace optp
