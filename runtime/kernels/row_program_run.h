// A row program (runtime/attention.h) while it runs: for one batch index, on a thread's own buffers.
#pragma once
#include "runtime/attention.h"

namespace optp::kernels {

// What is known of a program before it runs.
struct RowProgramPlan {
  static constexpr int64_t chunk = 512;  // columns at a time, so that steps' results stay in the first-level cache

  RowProgram program;
  int64_t keys = 0, block_rows = 0;
  llvm::SmallVector<int64_t, 4> mask_at;  // of a step: where its rows of a block of queries stand; -1: they don't
  int64_t mask_bytes = 0;                 // of all such, each [block_rows, keys]

  RowProgramPlan() = default;
  RowProgramPlan(const RowProgram& p, int64_t queries_of_block, int64_t key_count);
  bool is_empty() const { return program.steps.empty(); }
  int64_t scratch_bytes() const;
};

class RowProgramRun {
 public:
  RowProgramRun(const RowProgramPlan& plan, const KernelCall& call, char* scratch);
  void go_to(llvm::ArrayRef<int64_t> batch_index);  // of Attention::batch
  // What all scores with the same leaves share, of a row of a block.
  void make_masks(int64_t query, int64_t row);
  // [begin, end) of the row's result, from the starts, one of which may be `result`. All point at column 0.
  void run(int64_t query, int64_t row, int64_t begin, int64_t end, llvm::ArrayRef<const float*> starts, float* result);

 private:
  const RowProgramPlan& plan_;
  const KernelCall& call_;
  char *results_, *masks_;
  llvm::SmallVector<const char*, 4> leaves_;

  void step(size_t index, int64_t query, int64_t row, int64_t begin, int64_t n, llvm::ArrayRef<const float*> starts,
            float* result);
  char* place_of(size_t index, int64_t row, int64_t begin) const;
};

}  // namespace optp::kernels
