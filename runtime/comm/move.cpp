#include "runtime/comm/move.h"

#include <algorithm>
#include <cstring>

#include "frontend/ir/mesh.h"
#include "runtime/comm/call.h"

namespace optp {

void copy_rows(void* out, int64_t out_stride, const void* in, int64_t in_stride, int64_t rows, int64_t row_bytes) {
  if (rows == 0 || row_bytes == 0 || out == in) return;  // a chunk that lies in its place already
  if (out_stride == row_bytes && in_stride == row_bytes) {
    row_bytes *= rows;
    rows = 1;
  }
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(static_cast<char*>(out) + row * out_stride, static_cast<const char*>(in) + row * in_stride, row_bytes);
}

void place_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int axis, int members, int from, const void* in,
                 void* out) {
  const Around at = around(dims, axis);
  const int64_t inner = at.inner * element_bytes, chunk = chunk_size(at.total, members, from) * inner;
  if (chunk == 0 || at.outer == 0) return;
  copy_rows(static_cast<char*>(out) + chunk_start(at.total, members, from) * inner, at.total * inner, in, chunk,
            at.outer, chunk);
}

void take_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int axis, int members, int which, const void* in,
                void* out) {
  const Around at = around(dims, axis);
  const int64_t inner = at.inner * element_bytes, chunk = chunk_size(at.total, members, which) * inner;
  if (chunk == 0 || at.outer == 0) return;
  copy_rows(out, chunk, static_cast<const char*>(in) + chunk_start(at.total, members, which) * inner, at.total * inner,
            at.outer, chunk);
}

void exchange_chunk(llvm::ArrayRef<int64_t> dims, int64_t element_bytes, int split_axis, int concat_axis, int members,
                    int from, int to, const void* in, void* out) {
  // The tensor as [outer, first, middle, second, inner], first and second being the two axes in the order of dims.
  struct Axis {
    int64_t in, out, in_start, out_start, copied;
  };
  const int64_t split = dims[split_axis], concat = dims[concat_axis];
  const Axis at_split = {split, chunk_size(split, members, to), chunk_start(split, members, to), 0,
                         chunk_size(split, members, to)};
  const Axis at_concat = {chunk_size(concat, members, from), concat, 0, chunk_start(concat, members, from),
                          chunk_size(concat, members, from)};
  const bool split_first = split_axis < concat_axis;
  const Axis &first = split_first ? at_split : at_concat, &second = split_first ? at_concat : at_split;
  const int axis1 = std::min(split_axis, concat_axis), axis2 = std::max(split_axis, concat_axis);
  const int64_t outer = count_of(dims.take_front(axis1)), middle = count_of(dims.slice(axis1 + 1, axis2 - axis1 - 1));
  const int64_t inner = count_of(dims.drop_front(axis2 + 1)) * element_bytes;
  const int64_t in_stride = second.in * inner, out_stride = second.out * inner;
  if (outer * first.copied * middle * second.copied * inner == 0) return;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t f = 0; f < first.copied; ++f)
      copy_rows(static_cast<char*>(out) + (o * first.out + first.out_start + f) * middle * out_stride +
                    second.out_start * inner,
                out_stride,
                static_cast<const char*>(in) + (o * first.in + first.in_start + f) * middle * in_stride +
                    second.in_start * inner,
                in_stride, middle, second.copied * inner);
}

}  // namespace optp
