// The arithmetic of reductions, the same for every transport: contributions one after the other, in the given order.
#pragma once
#include <cstdint>

#include "frontend/ir/dtype.h"
#include "frontend/ir/reduce.h"
#include "llvm/ADT/ArrayRef.h"

namespace optp {

bool can_reduce(DType dtype);  // f32, f64, f16, bf16, i32, i64

// `rows` runs of `elements`, a stride apart in elements.
struct Rows {
  int64_t rows = 1, elements = 0, in_stride = 0, out_stride = 0;
};

// Each of `out` gets in[0] + in[1] + …, element by element; halves are summed in f32 and rounded once. An out may be
// one of the ins, at the same elements. Integers wrap.
void reduce(DType dtype, Reduce reduce, llvm::ArrayRef<const void*> in, llvm::ArrayRef<void*> out, Rows rows);

}  // namespace optp
