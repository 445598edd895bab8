// What attention and its gradient share (runtime/attention.h): a block of queries with its masks and the keys that
// these leave, and operands laid out for tiles.
#pragma once
#include "runtime/attention.h"
#include "runtime/kernels/matmul_form.h"
#include "runtime/kernels/row_program_run.h"

namespace optp::kernels {

struct KeyRange {
  int64_t begin = 0, end = 0;
};
inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Elements from the start of an operand to a batch index.
int64_t offset_of(const StridedOperand& o, llvm::ArrayRef<int64_t> index);
const void* address(const KernelCall& call, const StridedOperand& o, int64_t at);

// Rows of `columns` elements, from `from` on, one behind the other every `to_row`; up to there they end in zeros.
void load_rows(const void* from, const StridedOperand& o, int64_t rows, int64_t columns, float* to, int64_t to_row);
// Keys [begin, end) of [keys, depth] as a tile's columns: panels of [depth][columns].
void lay_out_as_columns(const void* from, const StridedOperand& o, KeyRange range, int64_t keys, int64_t depth,
                        float* panels);
// The same of [keys, width] as a tile's terms: panels of [keys][columns], the last one as wide as it need be.
void lay_out_as_terms(const void* from, const StridedOperand& o, KeyRange range, int64_t keys, int64_t width,
                      float* panels);
inline int64_t column_panels(int64_t keys, int64_t depth, int64_t tile_columns) {  // elements
  return up(up(keys, tile_columns) * depth, 16);
}
inline int64_t term_panels(int64_t keys, int64_t width, int64_t lanes) { return up(keys * up(width, lanes), 16); }

// A block of queries at a batch index: its masks, and the keys that any of its queries needs.
//
// What a mask allows is looked up before anything is multiplied. With scores of 0 in their place, keys end up as low as
// a mask can make them, below -1e30, or they don't. Where each query of a block has a key that is far from it, the keys
// before the first and behind the last such one have probabilities of exactly 0: they are not read. That holds while
// scores are numbers smaller than 1e29. A query without any allowed key keeps all keys: what comes of it is up to the
// mask's arithmetic.
class QueryBlock {
 public:
  // Between the scores and the softmax, and behind it. The plans outlive the block.
  QueryBlock(const RowProgramPlan& before, const RowProgramPlan& after, int64_t keys, const KernelCall& call,
             char* scratch);
  static int64_t scratch_bytes(const RowProgramPlan& before, const RowProgramPlan& after, int64_t keys);
  KeyRange go_to(llvm::ArrayRef<int64_t> index, int64_t first, int64_t rows);

  int64_t first() const { return first_; }
  int64_t rows() const { return rows_; }
  // [begin, end) of a row of the block, in place or not.
  void run_before(int64_t row, KeyRange keys, float* x) {
    before_.run(first_ + row, row, keys.begin, keys.end, {x}, x);
  }
  void run_after(int64_t row, KeyRange keys, const float* x, float* y) {
    after_.run(first_ + row, row, keys.begin, keys.end, {x}, y);
  }

 private:
  const RowProgramPlan& plan_before_;
  const RowProgramPlan& plan_after_;
  int64_t keys_, first_ = 0, rows_ = 0;
  float* probe_;
  RowProgramRun before_, after_;

  bool narrow(int64_t row, KeyRange& any);
};

llvm::Expected<Kernel> compile_attention_gradient(const Work& work, const KernelContext& context);

}  // namespace optp::kernels
