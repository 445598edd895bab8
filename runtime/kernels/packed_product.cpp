// As in "Anatomy of High-Performance Matrix Multiplication" (Goto, van de Geijn 2008) with BLIS's register tile: a tile
// of 6 × 16 sums stays in 12 registers over `depth` steps of k. A panel's part of b, 16 KiB, stays in the first-level
// cache over all tiles of `height` rows of a; these, at most 192 KiB, in the second-level cache over `width` columns.
// The order of a sum depends on k alone: neither threads nor shapes of m and n change a result.
#include "runtime/kernels/packed_product.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "frontend/ir/half.h"
#include "runtime/kernels/vector.h"
#include "runtime/parallel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define OPTP_X86 1
#endif

namespace optp::kernels {
namespace {
constexpr int64_t tile_rows = 6, tile_columns = PackedProduct::panel_columns;
constexpr int64_t depth = 256, height = 32 * tile_rows, width = 32 * tile_columns;

int64_t panels_of(int64_t n) { return (n + tile_columns - 1) / tile_columns; }

// y[rows, 16] = (first ? 0 : y) + a · b; a: [k, rows], b: [k, 16].
using Tile = void (*)(int64_t k, const float* a, const float* b, float* y, int64_t y_row, bool first);
template <int rows>
void plain_tile(int64_t k, const float* a, const float* b, float* y, int64_t y_row, bool first) {
  float sum[rows][tile_columns] = {};
  for (int64_t i = 0; i < k; ++i, a += rows, b += tile_columns)
    for (int r = 0; r < rows; ++r)
      for (int64_t c = 0; c < tile_columns; ++c) sum[r][c] += a[r] * b[c];
  for (int r = 0; r < rows; ++r)
    for (int64_t c = 0; c < tile_columns; ++c) y[r * y_row + c] = first ? sum[r][c] : y[r * y_row + c] + sum[r][c];
}
constexpr Tile plain_tiles[] = {plain_tile<1>, plain_tile<2>, plain_tile<3>,
                                plain_tile<4>, plain_tile<5>, plain_tile<6>};
#ifdef OPTP_X86
template <int rows>
[[gnu::target("avx2,fma")]] void avx2_tile(int64_t k, const float* a, const float* b, float* y, int64_t y_row,
                                           bool first) {
  __m256 sum[rows][2];
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  for (int64_t i = 0; i < k; ++i, a += rows, b += tile_columns) {
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      const __m256 one = _mm256_broadcast_ss(a + r);
      sum[r][0] = _mm256_fmadd_ps(one, b0, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(one, b1, sum[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) {
    float* out = y + r * y_row;
    if (!first) {
      sum[r][0] = _mm256_add_ps(sum[r][0], _mm256_loadu_ps(out));
      sum[r][1] = _mm256_add_ps(sum[r][1], _mm256_loadu_ps(out + 8));
    }
    _mm256_storeu_ps(out, sum[r][0]);
    _mm256_storeu_ps(out + 8, sum[r][1]);
  }
}
constexpr Tile avx2_tiles[] = {avx2_tile<1>, avx2_tile<2>, avx2_tile<3>, avx2_tile<4>, avx2_tile<5>, avx2_tile<6>};
const Tile* best_tiles() { return instruction_set() >= InstructionSet::avx2 ? avx2_tiles : plain_tiles; }
#else
const Tile* best_tiles() { return plain_tiles; }
#endif

// A tile's rows of n columns, n constant in the common case.
template <class Step>
OPTP_INLINE inline void each(float* y, int64_t y_row, int64_t rows, int64_t n, const Step& step) {
  vectorised([=]() OPTP_LAMBDA {
    for (int64_t r = 0; r < rows; ++r)
      if (n == tile_columns)
        for (int64_t c = 0; c < tile_columns; ++c) y[r * y_row + c] = step(y[r * y_row + c], r, c);
      else
        for (int64_t c = 0; c < n; ++c) y[r * y_row + c] = step(y[r * y_row + c], r, c);
  });
}
void finish_tile(const ProductStep& step, float* y, int64_t y_row, const float* added, int64_t rows, int64_t n) {
  switch (step.kind) {
    case ProductStep::Kind::scale:
      return each(y, y_row, rows, n, [f = step.factor](float v, int64_t, int64_t) OPTP_LAMBDA { return v * f; });
    case ProductStep::Kind::relu:
      return each(y, y_row, rows, n, [](float v, int64_t, int64_t) OPTP_LAMBDA { return v < 0 ? 0 : v; });
    case ProductStep::Kind::add:
      if (step.column == 1)
        return each(y, y_row, rows, n,
                    [=, row = step.row](float v, int64_t r, int64_t c) OPTP_LAMBDA { return v + added[r * row + c]; });
      return each(y, y_row, rows, n,
                  [=, row = step.row, column = step.column](float v, int64_t r, int64_t c)
                      OPTP_LAMBDA { return v + added[r * row + c * column]; });
  }
}

float widened(float x) { return x; }
float widened(uint16_t x) { return Bf16::load(x); }

// Rows of a panel of bfloat16, in pairs, as float32; `length` of them.
void widen_rows(const uint16_t* from, float* to, int64_t length) {
  vectorised([=]() OPTP_LAMBDA {
    for (int64_t i = 0; i < length; i += 2) {
      const uint16_t* pairs = from + i * tile_columns;
      float *low = to + i * tile_columns, *high = low + tile_columns;
      for (int64_t c = 0; c < tile_columns; ++c) {
        uint32_t both;
        __builtin_memcpy(&both, pairs + 2 * c, 4);
        low[c] = std::bit_cast<float>(both << 16), high[c] = std::bit_cast<float>(both & 0xffff0000u);
      }
    }
  });
}

// Rows [begin, end) of a, in blocks of `depth` columns, in tiles of rows: [block][tile][k][rows]. `begin` starts a
// tile.
template <class Element>
void pack_rows(const PackedProduct& p, const Element* a, float* to, int64_t begin, int64_t end) {
  for (int64_t at = 0; at < p.k; at += depth) {
    const int64_t k = std::min(depth, p.k - at);
    for (int64_t r = begin; r < end; r += tile_rows) {
      const int64_t rows = std::min(tile_rows, p.m - r);
      float* out = to + at * p.m + r * k;
      const Element* from = a + r * p.a_row + at * p.a_column;
      int64_t done = 0;
#ifdef OPTP_X86
      if constexpr (std::is_same_v<Element, float>)
        for (; rows == tile_rows && p.a_column == 1 && done + 4 <= k; done += 4, out += 4 * tile_rows) {
          auto row = [&](int64_t j) { return _mm_loadu_ps(from + j * p.a_row + done); };
          __m128 r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3), r4 = row(4), r5 = row(5);
          _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
          const __m128 low = _mm_unpacklo_ps(r4, r5), high = _mm_unpackhi_ps(r4, r5);
          _mm_storeu_ps(out, r0);
          _mm_storel_pi(reinterpret_cast<__m64*>(out + 4), low);
          _mm_storeu_ps(out + 6, r1);
          _mm_storeh_pi(reinterpret_cast<__m64*>(out + 10), low);
          _mm_storeu_ps(out + 12, r2);
          _mm_storel_pi(reinterpret_cast<__m64*>(out + 16), high);
          _mm_storeu_ps(out + 18, r3);
          _mm_storeh_pi(reinterpret_cast<__m64*>(out + 22), high);
        }
#endif
      for (int64_t i = done; i < k; ++i, out += rows)
        for (int64_t j = 0; j < rows; ++j) out[j] = widened(from[j * p.a_row + i * p.a_column]);
    }
  }
}
}  // namespace

// With AVX-512 oneDNN packs, and even its general gemm has twice the lanes.
bool PackedProduct::preferred() { return instruction_set() == InstructionSet::avx2; }

// Pairs of rows.
int64_t PackedProduct::panel_elements() const { return tile_columns * (dtype == DType::bf16 ? (k + 1) / 2 * 2 : k); }
int64_t PackedProduct::packed_bytes() const { return panels_of(n) * panel_elements() * size_bytes(dtype); }
int64_t PackedProduct::scratch_bytes(int threads) const {
  return int64_t(sizeof(float)) * ((m * k + 15) / 16 * 16 + threads * (height + depth) * tile_columns);
}

template <class Element>
void PackedProduct::pack_panels(const Element* b, Element* packed, int threads) const {
  constexpr int64_t together = std::is_same_v<Element, float> ? 1 : 2;  // rows beside each other
  auto place = [](int64_t i, int64_t c) {
    return i / together * together * tile_columns + c * together + i % together;
  };
  parallel_for(threads, panels_of(n), std::max<int64_t>(1, 1024 / std::max<int64_t>(k, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t panel = begin; panel < end; ++panel) {
                   Element* to = packed + panel * panel_elements();
                   const Element* from = b + panel * tile_columns * b_column;
                   const int64_t columns = std::min(tile_columns, n - panel * tile_columns);
                   if (columns < tile_columns || k % together != 0) std::fill(to, to + panel_elements(), Element(0));
                   if (b_column == 1) {
                     for (int64_t i = 0; i < k; ++i)
                       for (int64_t c = 0; c < columns; ++c) to[place(i, c)] = from[i * b_row + c];
                   } else {
                     // A few lines of the panel at a time, so that they are written while they are in the first-level
                     // cache.
                     for (int64_t i0 = 0; i0 < k; i0 += 16)
                       for (int64_t c = 0; c < columns; ++c)
                         for (int64_t i = i0; i < std::min(k, i0 + 16); ++i)
                           to[place(i, c)] = from[i * b_row + c * b_column];
                   }
                 }
               });
}
void PackedProduct::pack(const void* b, void* packed, int threads) const {
  if (dtype == DType::bf16)
    pack_panels(static_cast<const uint16_t*>(b), static_cast<uint16_t*>(packed), threads);
  else
    pack_panels(static_cast<const float*>(b), static_cast<float*>(packed), threads);
}

// What all parts of a run read.
struct PackedProduct::Running {
  const char* packed;
  const float* rows;  // a's, packed
  float* y;
  const float* const* added;
  const Tile* tiles;
};

// Tiles of rows [first, last) × one panel × `length` of k from `at` on. `rest`: this thread's.
void PackedProduct::run_panel(const Running& run, int64_t first, int64_t last, int64_t panel, int64_t at,
                              int64_t length, float* rest) const {
  const int64_t element = size_bytes(dtype);
  const char* stored = run.packed + (panel * panel_elements() + at * tile_columns) * element;
  float* wide = rest + height * tile_columns;
  if (dtype == DType::bf16) widen_rows(reinterpret_cast<const uint16_t*>(stored), wide, length);
  const float* b = dtype == DType::bf16 ? wide : reinterpret_cast<const float*>(stored);
  const int64_t column = panel * tile_columns, columns = std::min(tile_columns, n - column);
  const bool whole = columns == tile_columns;
  const int64_t out_row = whole ? y_row : tile_columns;
  for (int64_t r = first; r < last; r += tile_rows) {
    const int64_t rows = std::min(tile_rows, m - r);
    float* out = whole ? run.y + r * y_row + column : rest + (r - first) * tile_columns;
    // The next panel's part comes from memory: each tile fetches its share of it. Addresses beyond b do nothing.
    const char* next = stored + panel_elements() * element;
    const int64_t begin = (r - first) * length / (last - first),
                  end = (r - first + tile_rows) * length / (last - first);
    for (int64_t line = begin; line < end; ++line) __builtin_prefetch(next + line * tile_columns * element, 0, 2);
    run.tiles[rows - 1](length, run.rows + at * m + r * length, b, out, out_row, at == 0);
    if (at + length < k) continue;
    for (size_t s = 0; s < steps.size(); ++s) {
      const bool adds = steps[s].kind == ProductStep::Kind::add;
      finish_tile(steps[s], out, out_row, adds ? run.added[s] + r * steps[s].row + column * steps[s].column : nullptr,
                  rows, columns);
    }
    for (int64_t j = 0; j < rows && !whole; ++j)
      std::copy(out + j * out_row, out + j * out_row + columns, run.y + (r + j) * y_row + column);
  }
}

void PackedProduct::run(const void* a, const void* packed, float* y, const float* const* added, float* scratch,
                        int threads) const {
  const int64_t row_tiles = (m + tile_rows - 1) / tile_rows, panels = panels_of(n);
  parallel_for(threads, row_tiles, std::max<int64_t>(1, 2048 / std::max<int64_t>(k, 1)),
               [&](int64_t begin, int64_t end) {
                 const int64_t first = begin * tile_rows, last = std::min(m, end * tile_rows);
                 if (dtype == DType::bf16)
                   pack_rows(*this, static_cast<const uint16_t*>(a), scratch, first, last);
                 else
                   pack_rows(*this, static_cast<const float*>(a), scratch, first, last);
               });
  const Running running{static_cast<const char*>(packed), scratch, y, added, best_tiles()};
  // A thread's sums of the panel that ends beyond n, and its part of a panel, widened.
  float* rests = scratch + (m * k + 15) / 16 * 16;

  // Rows [first_row, last_row) × panels [first_panel, last_panel).
  auto part = [&](int64_t first_row, int64_t last_row, int64_t first_panel, int64_t last_panel, float* rest) {
    for (int64_t r0 = first_row; r0 < last_row; r0 += height)
      for (int64_t p0 = first_panel; p0 < last_panel; p0 += width / tile_columns)
        for (int64_t at = 0; at < k; at += depth)
          for (int64_t panel = p0; panel < std::min(last_panel, p0 + width / tile_columns); ++panel)
            run_panel(running, r0, std::min(last_row, r0 + height), panel, at, std::min(depth, k - at), rest);
  };
  // Whole panels or tiles of rows to each thread, whatever there is more of; no less than is worth to wake it.
  const int64_t most = std::max<int64_t>(1, m * n * k / (1 << 16));
  const int64_t parts = std::min<int64_t>({threads, most, std::max(panels, row_tiles)});
  parallel_for(int(parts), parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      float* rest = rests + p * (height + depth) * tile_columns;
      if (panels >= row_tiles)
        part(0, m, panels * p / parts, panels * (p + 1) / parts, rest);
      else
        part(row_tiles * p / parts * tile_rows, std::min(m, row_tiles * (p + 1) / parts * tile_rows), 0, panels, rest);
    }
  });
}
}  // namespace optp::kernels
