// A tile of 6 rows and as many vectors as leave registers for b: 4 of 16 lanes with AVX-512, 2 of 8 or of 4 else. For
// each term it loads its vectors of b once and multiplies them by a number of each row.
#include "runtime/kernels/tile.h"

#include <utility>

#include "runtime/kernels/vector.h"
#include "runtime/kernels/widen.h"

namespace optp::kernels {
namespace {

#if defined(__GNUC__)
template <int count>
struct Lanes;
template <>
struct Lanes<4> {
  using Vector [[gnu::vector_size(16)]] = float;
};
template <>
struct Lanes<8> {
  using Vector [[gnu::vector_size(32)]] = float;
};
template <>
struct Lanes<16> {
  using Vector [[gnu::vector_size(64)]] = float;
};

template <int lanes, int rows, int vectors, bool across>
OPTP_INLINE inline void tile(const TileCall& c) {
  using Vector = typename Lanes<lanes>::Vector;
  Vector sum[rows][vectors];
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v)
      if (c.add)
        __builtin_memcpy(&sum[r][v], c.y + r * c.y_row + v * lanes, sizeof(Vector));
      else
        sum[r][v] = Vector{};
  const float* b = c.b;
  for (int64_t t = 0; t < c.terms; ++t, b += c.b_row) {
    Vector column[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) __builtin_memcpy(&column[v], b + v * lanes, sizeof(Vector));
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      const float one = across ? c.a[t * c.a_row + r] : c.a[r * c.a_row + t];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[r][v] = sum[r][v] + one * column[v];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) __builtin_memcpy(c.y + r * c.y_row + v * lanes, &sum[r][v], sizeof(Vector));
}

template <int rows, int vectors, bool across>
void baseline_tile(const TileCall& c) {
  tile<4, rows, vectors, across>(c);
}
#if defined(__x86_64__)
template <int rows, int vectors, bool across>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")]] void avx512_tile(const TileCall& c) {
  tile<16, rows, vectors, across>(c);
}
template <int rows, int vectors, bool across>
[[gnu::target("avx2,fma")]] void avx2_tile(const TileCall& c) {
  tile<8, rows, vectors, across>(c);
}
#endif
#else
template <int rows, int vectors, bool across>
void baseline_tile(const TileCall& c) {
  constexpr int lanes = 4;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < vectors * lanes; ++k) {
      float sum = c.add ? c.y[r * c.y_row + k] : 0;
      for (int64_t t = 0; t < c.terms; ++t)
        sum += (across ? c.a[t * c.a_row + r] : c.a[r * c.a_row + t]) * c.b[t * c.b_row + k];
      c.y[r * c.y_row + k] = sum;
    }
}
#endif

// make(rows, vectors, across) for all tiles, as constants.
template <int vectors, class Make, int... cells>
Tiles all_tiles(int64_t lanes, const Make& make, std::integer_sequence<int, cells...>) {
  Tiles out;
  out.lanes = lanes, out.columns = lanes * vectors;
  auto fill = [&](auto across, Tile* table) {
    ((table[(cells / vectors) * Tiles::most_vectors + cells % vectors] =
          make(std::integral_constant<int, cells / vectors + 1>(), std::integral_constant<int, cells % vectors + 1>(),
               across)),
     ...);
  };
  fill(std::false_type(), out.table);
  fill(std::true_type(), out.across_table);
  return out;
}
Tiles best_tiles() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (instruction_set() == InstructionSet::avx512)
    return all_tiles<4>(
        16, [](auto r, auto v, auto across) -> Tile { return avx512_tile<r.value, v.value, across.value>; },
        std::make_integer_sequence<int, 4 * Tiles::rows>());
  if (instruction_set() == InstructionSet::avx2)
    return all_tiles<2>(
        8, [](auto r, auto v, auto across) -> Tile { return avx2_tile<r.value, v.value, across.value>; },
        std::make_integer_sequence<int, 2 * Tiles::rows>());
#endif
  return all_tiles<2>(
      4, [](auto r, auto v, auto across) -> Tile { return baseline_tile<r.value, v.value, across.value>; },
      std::make_integer_sequence<int, 2 * Tiles::rows>());
}
}  // namespace

const Tiles& tiles() {
  static const Tiles best = best_tiles();
  return best;
}

namespace {
constexpr int lanes = 16;
// Rows of a head lie apart, those of the other heads between them, and come from memory once a token: the processor
// does not guess them.
constexpr int64_t rows_ahead = 16;

// An address that is not there does nothing.
template <class Element>
OPTP_INLINE inline void fetch(const Element* row, int64_t n) {
  constexpr int64_t line = 64 / int64_t(sizeof(Element));
  for (int64_t at = 0; at < n; at += line) __builtin_prefetch(row + at);
}

template <int group, class Element, class Load>
OPTP_INLINE inline void dots(int64_t terms, const float* a, const Element* from, int64_t b_row, const Load& load,
                             float* y) {
  float part[group][lanes] = {};
  for (int g = 0; g < group; ++g) fetch(from + (g + rows_ahead) * b_row, terms);
  int64_t t = 0;
  for (; t + lanes <= terms; t += lanes)
    for (int g = 0; g < group; ++g)
      for (int j = 0; j < lanes; ++j) part[g][j] += a[t + j] * load(from[g * b_row + t + j]);
  for (int g = 0; g < group; ++g) {
    for (int64_t rest = t; rest < terms; ++rest) part[g][rest - t] += a[rest] * load(from[g * b_row + rest]);
    for (int width = lanes / 2; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) part[g][j] += part[g][j + width];
    y[g] = part[g][0];
  }
}
template <int columns, class Element, class Load>
OPTP_INLINE inline void sums(int64_t terms, const float* a, const Element* b, int64_t b_row, const Load& load,
                             float* y) {
  float sum[columns] = {};
  for (int64_t t = 0; t < terms; ++t, b += b_row) {
    fetch(b + rows_ahead * b_row, columns);
    for (int j = 0; j < columns; ++j) sum[j] = sum[j] + a[t] * load(b[j]);
  }
  for (int j = 0; j < columns; ++j) y[j] = sum[j];
}
}  // namespace

void dot_rows(int64_t terms, const float* a, const void* b, DType dtype, int64_t b_row, int64_t rows, float* y) {
  with_elements(b, dtype, [=](const auto* from, const auto& load) {
    vectorised([=]() OPTP_LAMBDA {
      constexpr int group = 4;
      int64_t c = 0;
      for (; c + group <= rows; c += group) dots<group>(terms, a, from + c * b_row, b_row, load, y + c);
      for (; c < rows; ++c) dots<1>(terms, a, from + c * b_row, b_row, load, y + c);
    });
  });
}
void sum_rows(int64_t terms, const float* a, const void* b, DType dtype, int64_t b_row, int64_t columns, float* y) {
  with_elements(b, dtype, [=](const auto* from, const auto& load) {
    vectorised([=]() OPTP_LAMBDA {
      int64_t c = 0;
      for (; c + 4 * lanes <= columns; c += 4 * lanes) sums<4 * lanes>(terms, a, from + c, b_row, load, y + c);
      for (; c + lanes <= columns; c += lanes) sums<lanes>(terms, a, from + c, b_row, load, y + c);
      for (; c < columns; ++c) sums<1>(terms, a, from + c, b_row, load, y + c);
    });
  });
}
}  // namespace optp::kernels
