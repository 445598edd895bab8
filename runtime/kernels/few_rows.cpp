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
constexpr int64_t terms = 32;  // of a block

// Sums of a block of columns for M rows. `x`: the rows' terms as floats, zeros behind the last.
template <int M, int64_t columns>
OPTP_INLINE inline void sum_block(const uint16_t* weights, int64_t next_terms, int64_t blocks, const float* x,
                                  int64_t x_row, float (&sums)[M][columns]) {
  for (int64_t b = 0; b < blocks; ++b) {
    const uint16_t* at = weights + b * next_terms;
    for (int64_t pair = 0; pair < terms / 2; ++pair) {
      float first[M], second[M];
      for (int r = 0; r < M; ++r) {
        first[r] = x[r * x_row + b * terms + 2 * pair];
        second[r] = x[r * x_row + b * terms + 2 * pair + 1];
      }
      for (int64_t c = 0; c < columns; ++c) {
        uint32_t both;
        __builtin_memcpy(&both, at + 2 * (pair * columns + c), 4);
        const float w0 = std::bit_cast<float>(both << 16), w1 = std::bit_cast<float>(both & 0xffff0000u);
        for (int r = 0; r < M; ++r) sums[r][c] = sums[r][c] + first[r] * w0 + second[r] * w1;
      }
    }
  }
}
}  // namespace

bool FewRows::takes(const dnnl::memory::desc& weights) {
  const onednn::Blocking b = onednn::blocking_of(weights);
  if (m > most || b.strides.size() != 2 || b.inner_dims != std::vector<int64_t>{0, 1, 0}) return false;
  if (b.inner_extents[0] != terms / 2 || b.inner_extents[2] != 2) return false;
  block_columns = b.inner_extents[1];
  next_terms = b.strides[0], next_columns = b.strides[1];
  return llvm::is_contained({16, 32, 48, 64}, block_columns);
}

namespace {
template <int M, int64_t columns>
void run_blocks(const FewRows& p, const uint16_t* weights, int64_t next_terms, int64_t next_columns, const float* x,
                int64_t x_row, float* y, const float* const* added, int64_t begin, int64_t end) {
  const int64_t blocks = (p.k + terms - 1) / terms;
  for (int64_t block = begin; block < end; ++block) {
    float sums[M][columns] = {};
    const uint16_t* own = weights + block * next_columns;
    vectorised([&]() OPTP_LAMBDA { sum_block<M, columns>(own, next_terms, blocks, x, x_row, sums); });
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
template <int M>
auto runner(int64_t columns) {
  return columns == 16   ? run_blocks<M, 16>
         : columns == 32 ? run_blocks<M, 32>
         : columns == 48 ? run_blocks<M, 48>
                         : run_blocks<M, 64>;
}
}  // namespace

void FewRows::run(const uint16_t* a, const uint16_t* weights, float* y, const float* const* added, int threads) const {
  const int64_t x_row = (k + terms - 1) / terms * terms, blocks = (n + block_columns - 1) / block_columns;
  std::vector<float> x(size_t(m * x_row), 0.0f);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t t = 0; t < k; ++t) x[size_t(r * x_row + t)] = Bf16::load(a[r * a_row + t * a_column]);
  const auto run_some = m == 1   ? runner<1>(block_columns)
                        : m == 2 ? runner<2>(block_columns)
                        : m == 3 ? runner<3>(block_columns)
                                 : runner<4>(block_columns);
  parallel_for(threads, blocks, 1, [&](int64_t begin, int64_t end) {
    run_some(*this, weights, next_terms, next_columns, x.data(), x_row, y, added, begin, end);
  });
}
}  // namespace optp::kernels
