// Elements by index tensors, for operators whose ONNX form is one.
#pragma once
#include "frontend/onnx/lowering.h"

namespace optp {
using Components = llvm::SmallVector<Value*, 4>;           // an index along each of several dims
llvm::Expected<Value*> index_operand(LoweringContext& c);  // operand 1: int64 or int32
// Where an index along each of the leading `dims` leads to, of these dims flattened. An index outside of its dim leads
// behind all.
llvm::Expected<Value*> flat_row(LoweringContext& c, llvm::ArrayRef<Dim> dims, llvm::ArrayRef<Value*> components);
Dims flattened(llvm::ArrayRef<Dim> dims, size_t leading);
// The components of index tuples, which the last dim holds: at most `most` of them.
llvm::Expected<Components> components_of(LoweringContext& c, Value& index, size_t most);
// Of an index that has data's number of dims: along all dims but the axis it goes no further than data.
llvm::Error check_beside(LoweringContext& c, const Value& data, const Value& index, int64_t axis);
// y[i, j] = x[index[i, j], j] along axis 0, and so on; index has x's number of dims.
llvm::Expected<Value*> elements_at(LoweringContext& c, Value& x, Value& index, int64_t axis);
}  // namespace optp
