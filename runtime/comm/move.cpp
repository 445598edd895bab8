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

namespace {
// A chunk's rows among those of the whole.
struct Rows {
  int64_t count, start_bytes, bytes, stride_bytes;
  bool empty() const { return count == 0 || bytes == 0; }
};
Rows rows_of(const Chunking& whole, Chunk chunk) {
  const Around at = around(whole.dims, chunk.axis);
  const int64_t inner = at.inner * whole.element_bytes;
  return {at.outer, chunk_start(at.total, whole.members, chunk.member) * inner,
          chunk_size(at.total, whole.members, chunk.member) * inner, at.total * inner};
}
}  // namespace

void place_chunk(const Chunking& whole, Chunk chunk, const void* in, void* out) {
  const Rows rows = rows_of(whole, chunk);
  if (rows.empty()) return;
  copy_rows(static_cast<char*>(out) + rows.start_bytes, rows.stride_bytes, in, rows.bytes, rows.count, rows.bytes);
}

void take_chunk(const Chunking& whole, Chunk chunk, const void* in, void* out) {
  const Rows rows = rows_of(whole, chunk);
  if (rows.empty()) return;
  copy_rows(out, rows.bytes, static_cast<const char*>(in) + rows.start_bytes, rows.stride_bytes, rows.count,
            rows.bytes);
}

void exchange_chunk(const Chunking& whole, Chunk cut, Chunk joined, const void* in, void* out) {
  // The tensor as [outer, first, middle, second, inner], first and second being the two axes in the order of dims.
  struct Axis {
    int64_t in, out, in_start, out_start, copied;
  };
  auto start = [&](Chunk c) { return chunk_start(whole.dims[c.axis], whole.members, c.member); };
  auto size = [&](Chunk c) { return chunk_size(whole.dims[c.axis], whole.members, c.member); };
  const Axis at_cut = {whole.dims[cut.axis], size(cut), start(cut), 0, size(cut)};
  const Axis at_joined = {size(joined), whole.dims[joined.axis], 0, start(joined), size(joined)};
  const bool cut_first = cut.axis < joined.axis;
  const Axis &first = cut_first ? at_cut : at_joined, &second = cut_first ? at_joined : at_cut;
  const auto [axis1, axis2] = std::minmax({cut.axis, joined.axis});
  const int64_t outer = count_of(whole.dims.take_front(axis1)),
                middle = count_of(whole.dims.slice(axis1 + 1, axis2 - axis1 - 1)),
                inner = count_of(whole.dims.drop_front(axis2 + 1)) * whole.element_bytes;
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
