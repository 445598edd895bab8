// A block of columns at a time, its sums in registers, its terms in their order. Weights come from memory in the order
// in which they lie. The processor fetches ahead of such a stream by itself, but not beyond the end of a page; asked
// for each line 4 KiB before it is needed, one core reads a fourth more a second.
#include "runtime/kernels/few_rows.h"

#include <algorithm>
#include <vector>

#include "frontend/ir/half.h"
#include "llvm/ADT/STLExtras.h"
#include "runtime/kernels/vector.h"
#include "runtime/onednn.h"
#include "runtime/parallel.h"

namespace optp::kernels {
namespace {
constexpr int64_t ahead = 4096, line = 64;  // bytes

// An address behind the weights does nothing.
template <int64_t bytes>
OPTP_INLINE inline void fetch(const void* from) {
#pragma GCC unroll 8
  for (int64_t at = 0; at < bytes; at += line) __builtin_prefetch(static_cast<const char*>(from) + ahead + at);
}

// So many columns at once, as the compiler's own vectors: as arrays the sums would lie in memory, which weights might
// overlap, and a token would take twice as long.
constexpr int64_t lanes = 8;
using Lanes [[gnu::vector_size(lanes * 4)]] = float;
using Words [[gnu::vector_size(lanes * 4)]] = uint32_t;

// Elements of weights, and how many terms lie beside each other.
struct Floats {
  using Element = float;
  static constexpr int64_t terms = 1;
  template <int M>
  OPTP_INLINE static void add(const float* weights, const float (&x)[M][terms], int64_t at, Lanes (&sums)[M]) {
    Lanes w;
    __builtin_memcpy(&w, weights + at, sizeof w);
    for (int r = 0; r < M; ++r) sums[r] += x[r][0] * w;
  }
  static float load(const void* a, int64_t at) { return static_cast<const float*>(a)[at]; }
};
struct PairsOfBf16 {
  using Element = uint16_t;
  static constexpr int64_t terms = 2;
  template <int M>
  OPTP_INLINE static void add(const uint16_t* weights, const float (&x)[M][terms], int64_t at, Lanes (&sums)[M]) {
    Words both;
    __builtin_memcpy(&both, weights + terms * at, sizeof both);
    const Words first = both << 16, second = both & 0xffff0000u;
    Lanes w0, w1;
    __builtin_memcpy(&w0, &first, sizeof w0);
    __builtin_memcpy(&w1, &second, sizeof w1);
    for (int r = 0; r < M; ++r) sums[r] = sums[r] + x[r][0] * w0 + x[r][1] * w1;
  }
  static float load(const void* a, int64_t at) { return Bf16::load(static_cast<const uint16_t*>(a)[at]); }
};

// Sums of a block of columns for M rows. `x`: the rows' terms as floats, zeros behind the last.
template <class Weights, int M, int64_t columns>
OPTP_INLINE inline void sum_block(const FewRows& p, const typename Weights::Element* weights, const float* x,
                                  int64_t x_row, float (&out)[M][columns]) {
  Lanes sums[columns / lanes][M] = {};
  for (int64_t at = 0; at < p.k; at += p.block_terms, weights += p.next_terms) {
    const int64_t steps = std::min(p.block_terms, (p.k - at + Weights::terms - 1) / Weights::terms * Weights::terms);
    const auto* row = weights;
    for (int64_t t = 0; t < steps; t += Weights::terms, row += Weights::terms * columns) {
      float own[M][Weights::terms];
      for (int r = 0; r < M; ++r)
        for (int64_t j = 0; j < Weights::terms; ++j) own[r][j] = x[r * x_row + at + t + j];
      fetch<Weights::terms * columns * int64_t(sizeof(*row))>(row);
#pragma GCC unroll 8
      for (int64_t v = 0; v < columns / lanes; ++v) Weights::add(row, own, v * lanes, sums[v]);
    }
  }
  for (int r = 0; r < M; ++r)
    for (int64_t v = 0; v < columns / lanes; ++v) __builtin_memcpy(&out[r][v * lanes], &sums[v][r], sizeof(Lanes));
}

template <class Weights, int M, int64_t columns>
void run_blocks(const FewRows& p, const void* weights, const float* x, int64_t x_row, float* y,
                const float* const* added, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    float sums[M][columns];
    const auto* own = static_cast<const typename Weights::Element*>(weights) + block * p.next_columns;
    vectorised([&]() OPTP_LAMBDA { sum_block<Weights, M, columns>(p, own, x, x_row, sums); });
    const int64_t count = std::min(columns, p.n - block * columns);
    for (int64_t r = 0; r < M; ++r)
      for (int64_t c = 0; c < count; ++c) {
        const int64_t column = block * columns + c;
        float v = sums[r][c];
        for (size_t s = 0; s < p.steps.size(); ++s) {
          const ProductStep& step = p.steps[s];
          if (step.kind == ProductStep::Kind::add)
            v += added[s][r * step.row + column * step.column];
          else if (step.kind == ProductStep::Kind::scale)
            v *= step.factor;
          else
            v = v < 0 ? 0 : v;
        }
        y[r * p.y_row + column * p.y_column] = v;
      }
  }
}
using Runner = decltype(&run_blocks<Floats, 1, 16>);
template <class Weights, int M>
Runner runner(int64_t columns) {
  return columns == 16   ? run_blocks<Weights, M, 16>
         : columns == 32 ? run_blocks<Weights, M, 32>
         : columns == 48 ? run_blocks<Weights, M, 48>
                         : run_blocks<Weights, M, 64>;
}
template <class Weights>
Runner runner(int64_t rows, int64_t columns) {
  return rows == 1   ? runner<Weights, 1>(columns)
         : rows == 2 ? runner<Weights, 2>(columns)
         : rows == 3 ? runner<Weights, 3>(columns)
                     : runner<Weights, 4>(columns);
}

template <class Weights>
void run_of(const FewRows& p, const void* a, const void* weights, float* y, const float* const* added, int threads) {
  const int64_t x_row = (p.k + Weights::terms - 1) / Weights::terms * Weights::terms;
  std::vector<float> x(size_t(p.m * x_row), 0.0f);
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t t = 0; t < p.k; ++t) x[size_t(r * x_row + t)] = Weights::load(a, r * p.a_row + t * p.a_column);
  const Runner run_some = runner<Weights>(p.m, p.block_columns);
  parallel_for(threads, (p.n + p.block_columns - 1) / p.block_columns, 1,
               [&](int64_t begin, int64_t end) { run_some(p, weights, x.data(), x_row, y, added, begin, end); });
}
}  // namespace

bool FewRows::takes(const dnnl::memory::desc& weights) {
  const onednn::Blocking b = onednn::blocking_of(weights);
  const bool in_pairs = dtype == DType::bf16;
  const std::vector<int64_t> dims = in_pairs ? std::vector<int64_t>{0, 1, 0} : std::vector<int64_t>{0, 1};
  if (m > most || b.strides.size() != 2 || b.inner_dims != dims || (in_pairs && b.inner_extents[2] != 2)) return false;
  block_terms = b.inner_extents[0] * (in_pairs ? 2 : 1), block_columns = b.inner_extents[1];
  next_terms = b.strides[0], next_columns = b.strides[1];
  return llvm::is_contained({16, 32, 48, 64}, block_columns);
}
bool FewRows::takes_panels(int64_t columns) {
  if (m > most) return false;
  block_terms = dtype == DType::bf16 ? (k + 1) / 2 * 2 : k, block_columns = columns;
  next_terms = 0, next_columns = block_terms * columns;
  return llvm::is_contained({16, 32, 48, 64}, block_columns);
}

void FewRows::run(const void* a, const void* weights, float* y, const float* const* added, int threads) const {
  return dtype == DType::bf16 ? run_of<PairsOfBf16>(*this, a, weights, y, added, threads)
                              : run_of<Floats>(*this, a, weights, y, added, threads);
}
}  // namespace optp::kernels
