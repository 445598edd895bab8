// The copying of collectives that only move: chunks of one dense tensor to their places in another.
#pragma once
#include <cstdint>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

// `rows` runs of row_bytes, whose starts lie a stride apart.
void copy_rows(void* out, int64_t out_stride, const void* in, int64_t in_stride, int64_t rows, int64_t row_bytes);

// all_gather: member `from`'s chunk of dims along axis, to its place in the whole.
void place_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int axis, int members, int from, const void* in,
                 void* out);
// The reverse: chunk `which` of the whole along axis, dense.
void take_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int axis, int members, int which, const void* in,
                void* out);
// all_to_all: of what `from` holds (a chunk along concat_axis) the part that `to` gets (its chunk along split_axis).
void exchange_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int split_axis, int concat_axis, int members,
                    int from, int to, const void* in, void* out);

}  // namespace optp
