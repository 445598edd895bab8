// What op families share: broadcasting, index arithmetic on Arrays, usual rules and checks of operands.
#pragma once
#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "frontend/ir/strides.h"

namespace optp::ops {

using Types = llvm::SmallVector<Type, 1>;
using Ints = Extents;

inline Types one(DType dtype, llvm::ArrayRef<Dim> dims) { return {Type{dtype, Dims(dims.begin(), dims.end())}}; }
// Not by an initializer list, which would copy.
inline Arrays single(Array array) {
  Arrays out;
  out.push_back(std::move(array));
  return out;
}
inline Ints numbers(llvm::ArrayRef<Dim> dims) {
  Ints out;
  for (Dim d : dims) out.push_back(d.constant().value_or(-1));
  return out;
}
// Calls visit(linear index of the result, offsets of each operand) for all indices of `dims`, row-major.
void walk(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Ints> strides,
          llvm::function_ref<void(int64_t, llvm::ArrayRef<int64_t>)> visit);
// The same by rows: innermost dims that every operand steps through evenly are one call, with their number of elements
// and each operand's step from one to the next.
void walk_rows(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<Ints> strides,
               llvm::function_ref<void(int64_t at_result, llvm::ArrayRef<int64_t> offsets, int64_t count,
                                       llvm::ArrayRef<int64_t> steps)>
                   visit);

// numpy's broadcasting of symbolic extents.
llvm::Expected<Dims> broadcast(const Node& node, llvm::ArrayRef<const Value*> operands);
// The rule of an elementwise op: one loop a result dim, operands aligned at the right.
llvm::Expected<Rule> elementwise_rule(const Node& node);
// An index in operand 1 that operand 0, of so many rows, does not have.
llvm::Error index_out_of_range(const Node& node, int64_t index, int64_t rows);
llvm::Error same_dtype(const Node& node, llvm::ArrayRef<unsigned> operands);
// A view's result, of extents `dims`: the elements of `in` that these strides reach from `base` on.
Array rearranged(const Array& in, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides, int64_t base = 0);
std::optional<Content> rearranged_content(const Content& in, llvm::ArrayRef<int64_t> dims,
                                          llvm::ArrayRef<int64_t> strides, int64_t base = 0);
// Whether a content of these dims is worth knowing: all are numbers, and their product, which may not fit in 64 bits,
// is small.
bool is_small(llvm::ArrayRef<int64_t> dims);
// Of an op that looks rows up along attribute "axis", and of one that adds to rows: a rank has those from "row_start"
// on.
llvm::Error localize_rows_of_operand(Node& node, const Rule& rule, const LoopSharding& sharding);
llvm::Error localize_rows_of_result(Node& node, const Rule& rule, const LoopSharding& sharding);
llvm::Expected<int64_t> checked_axis(const Node& node, size_t ndim);
// One loop a result dim, those of `whole_axes` whole; operands have them, too, aligned at the right: none is repeated.
Rule same_shape_rule(const Node& node, llvm::ArrayRef<int64_t> whole_axes, Linear linear);

}  // namespace optp::ops
