// The copying of collectives that only move: chunks of one dense tensor to their places in another.
#pragma once
#include <cstdint>

#include "llvm/ADT/ArrayRef.h"

namespace optp {

// `rows` runs of row_bytes, whose starts lie a stride apart.
void copy_rows(void* out, int64_t out_stride, const void* in, int64_t in_stride, int64_t rows, int64_t row_bytes);

// A whole tensor of which so many members have a chunk each.
struct Chunking {
  llvm::ArrayRef<int64_t> dims;
  int64_t element_bytes;
  int members;
};
struct Chunk {
  int axis, member;
};

// all_gather: a chunk, dense, to its place in the whole.
void place_chunk(const Chunking& whole, Chunk chunk, const void* in, void* out);
// The reverse: a chunk of the whole, dense.
void take_chunk(const Chunking& whole, Chunk chunk, const void* in, void* out);
// all_to_all: of what a member holds, a chunk along the axis that is joined, the part that another gets, its chunk
// along the axis that is cut.
void exchange_chunk(const Chunking& whole, Chunk cut, Chunk joined, const void* in, void* out);

}  // namespace optp
