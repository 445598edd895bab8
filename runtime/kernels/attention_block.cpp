#include "runtime/kernels/attention_block.h"

#include <algorithm>

#include "runtime/kernels/tile.h"
#include "runtime/kernels/widen.h"

namespace optp::kernels {
namespace {
constexpr int64_t key_block = 64;  // keys that are skipped or not
constexpr float closed = -1e30f, open = -1e29f;
}  // namespace

int64_t offset_of(const StridedOperand& o, llvm::ArrayRef<int64_t> index) {
  int64_t at = o.offset;
  for (size_t d = 0; d < index.size(); ++d) at += index[d] * o.batch[d];
  return at;
}
const void* address(const KernelCall& call, const StridedOperand& o, int64_t at) {
  return static_cast<const char*>(call.in[o.operand]) + at * size_bytes(o.dtype);
}

void load_rows(const void* from, const StridedOperand& o, int64_t rows, int64_t columns, float* to, int64_t to_row) {
  with_elements(from, o.dtype, [&](const auto* x, const auto& load) {
    vectorised([=, row = o.row, column = o.column]() OPTP_LAMBDA {
      for (int64_t r = 0; r < rows; ++r) {
        if (column == 1)
          for (int64_t d = 0; d < columns; ++d) to[r * to_row + d] = load(x[r * row + d]);
        else
          for (int64_t d = 0; d < columns; ++d) to[r * to_row + d] = load(x[r * row + d * column]);
        for (int64_t d = columns; d < to_row; ++d) to[r * to_row + d] = 0;
      }
    });
  });
}

void lay_out_as_columns(const void* source, const StridedOperand& o, KeyRange range, int64_t keys, int64_t depth,
                        float* panels) {
  const int64_t columns = tiles().columns;
  with_elements(source, o.dtype, [&](const auto* from, const auto& load) {
    for (int64_t first = range.begin / columns * columns; first < range.end; first += columns) {
      float* to = panels + first * depth;
      const int64_t count = std::min(columns, keys - first), row = o.row, column = o.column;
      const auto* at = from + first * row;
      vectorised([=]() OPTP_LAMBDA {
        if (row == 1) {
          for (int64_t d = 0; d < depth; ++d)
            for (int64_t j = 0; j < count; ++j) to[d * columns + j] = load(at[j + d * column]);
        } else {
          // A few lines of the panel at a time, so that they are written while they are in the first-level cache.
          for (int64_t d0 = 0; d0 < depth; d0 += 16)
            for (int64_t j = 0; j < count; ++j)
              for (int64_t d = d0; d < std::min(depth, d0 + 16); ++d)
                to[d * columns + j] = load(at[j * row + d * column]);
        }
        for (int64_t d = 0; d < depth; ++d)
          for (int64_t j = count; j < columns; ++j) to[d * columns + j] = 0;
      });
    }
  });
}

void lay_out_as_terms(const void* source, const StridedOperand& o, KeyRange range, int64_t keys, int64_t width,
                      float* panels) {
  const Tiles& t = tiles();
  with_elements(source, o.dtype, [&](const auto* from, const auto& load) {
    for (int64_t first = 0; first < width; first += t.columns) {
      const int64_t count = std::min(t.columns, width - first), columns = up(count, t.lanes);
      float* to = panels + first * keys;
      const int64_t row = o.row, column = o.column;
      const auto* at = from + first * column;
      vectorised([=]() OPTP_LAMBDA {
        for (int64_t key = range.begin; key < range.end; ++key) {
          if (column == 1)
            for (int64_t j = 0; j < count; ++j) to[key * columns + j] = load(at[key * row + j]);
          else
            for (int64_t j = 0; j < count; ++j) to[key * columns + j] = load(at[key * row + j * column]);
          for (int64_t j = count; j < columns; ++j) to[key * columns + j] = 0;
        }
      });
    }
  });
}

int64_t QueryBlock::scratch_bytes(const RowProgramPlan& before, const RowProgramPlan& after, int64_t keys) {
  return up(keys * 4, 64) + before.scratch_bytes() + after.scratch_bytes();
}
QueryBlock::QueryBlock(const RowProgramPlan& before, const RowProgramPlan& after, int64_t keys, const KernelCall& call,
                       char* scratch)
    : plan_before_(before),
      plan_after_(after),
      keys_(keys),
      probe_(reinterpret_cast<float*>(scratch)),
      before_(before, call, scratch + up(keys * 4, 64)),
      after_(after, call, scratch + up(keys * 4, 64) + before.scratch_bytes()) {}

KeyRange QueryBlock::go_to(llvm::ArrayRef<int64_t> index, int64_t first, int64_t rows) {
  first_ = first, rows_ = rows;
  before_.go_to(index);
  after_.go_to(index);
  KeyRange any{keys_, 0};
  bool narrows = plan_before_.program.is_steady && !plan_before_.is_empty();
  for (int64_t r = 0; r < rows_; ++r) {
    before_.make_masks(first_ + r, r);
    after_.make_masks(first_ + r, r);
    narrows = narrows && narrow(r, any);
  }
  return narrows ? any : KeyRange{0, keys_};
}

// Widens `any` by the keys that this row needs. False: it may need all.
bool QueryBlock::narrow(int64_t row, KeyRange& any) {
  if (!plan_after_.is_empty()) {
    std::fill(probe_, probe_ + keys_, 0.0f);
    run_after(row, {0, keys_}, probe_, probe_);
    if (std::any_of(probe_, probe_ + keys_, [](float p) { return p != 0; })) return false;
  }
  std::fill(probe_, probe_ + keys_, 0.0f);
  run_before(row, {0, keys_}, probe_);
  bool is_open = false;
  for (int64_t at = 0; at < keys_; at += key_block) {
    const int64_t n = std::min(key_block, keys_ - at);
    const float* from = probe_ + at;
    int needed = 0, far = 0;
    vectorised([&, from, n]() OPTP_LAMBDA {
      int some = 0, much = 0;
      for (int64_t j = 0; j < n; ++j) some |= !(from[j] <= closed), much |= from[j] >= open;
      needed = some, far = much;
    });
    if (needed) any = {std::min(any.begin, at), std::max(any.end, at + n)};
    is_open |= far != 0;
  }
  return is_open;
}
}  // namespace optp::kernels
