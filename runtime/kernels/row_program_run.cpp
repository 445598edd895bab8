#include "runtime/kernels/row_program_run.h"

#include <algorithm>

namespace optp::kernels {
namespace {
using In = RowProgram::In;
constexpr int64_t widest = 8;  // bytes of an element
int64_t lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

RowProgramPlan::RowProgramPlan(const RowProgram& p, int64_t queries_of_block, int64_t key_count)
    : program(p), keys(key_count), block_rows(queries_of_block), mask_at(p.steps.size(), -1) {
  for (const RowProgram::Step& s : program.steps) {
    if (!s.follows_start) continue;
    for (const In& in : s.in) {
      if (in.kind != In::Kind::step || program.steps[in.index].follows_start || mask_at[in.index] >= 0) continue;
      mask_at[in.index] = mask_bytes;
      mask_bytes += lines(block_rows * keys * program.steps[in.index].element_bytes);
    }
  }
}
int64_t RowProgramPlan::scratch_bytes() const {
  return mask_bytes + int64_t(program.steps.size()) * lines(std::min(chunk, keys) * widest);
}

RowProgramRun::RowProgramRun(const RowProgramPlan& plan, const KernelCall& call, char* scratch)
    : plan_(plan), call_(call), results_(scratch + plan.mask_bytes), masks_(scratch) {}

void RowProgramRun::go_to(llvm::ArrayRef<int64_t> batch_index) {
  leaves_.clear();
  for (const StridedOperand& leaf : plan_.program.leaves) {
    int64_t at = leaf.offset;
    for (size_t d = 0; d < batch_index.size(); ++d) at += batch_index[d] * leaf.batch[d];
    leaves_.push_back(static_cast<const char*>(call_.in[leaf.operand]) + at * size_bytes(leaf.dtype));
  }
}

char* RowProgramRun::place_of(size_t index, int64_t row, int64_t begin) const {
  if (plan_.mask_at[index] < 0)
    return results_ + int64_t(index) * lines(std::min(RowProgramPlan::chunk, plan_.keys) * widest);
  return masks_ + plan_.mask_at[index] + (row * plan_.keys + begin) * plan_.program.steps[index].element_bytes;
}

void RowProgramRun::step(size_t index, int64_t query, int64_t row, int64_t begin, int64_t n,
                         llvm::ArrayRef<const float*> starts, float* result) {
  const RowProgram::Step& s = plan_.program.steps[index];
  const void* in[4];
  int64_t by[4];
  for (size_t k = 0; k < s.in.size(); ++k) {
    by[k] = 1;
    if (s.in[k].kind == In::Kind::start) {
      in[k] = starts[s.in[k].index] + begin;
    } else if (s.in[k].kind == In::Kind::step) {
      in[k] = place_of(s.in[k].index, row, begin);
    } else {
      const StridedOperand& leaf = plan_.program.leaves[s.in[k].index];
      by[k] = leaf.column;
      in[k] = leaves_[s.in[k].index] + (query * leaf.row + begin * leaf.column) * size_bytes(leaf.dtype);
    }
  }
  s.row(n, in, by, result ? static_cast<void*>(result + begin) : place_of(index, row, begin));
}

void RowProgramRun::make_masks(int64_t query, int64_t row) {
  if (plan_.mask_bytes == 0) return;
  for (int64_t at = 0; at < plan_.keys; at += RowProgramPlan::chunk)
    for (size_t k = 0; k < plan_.program.steps.size(); ++k)
      if (!plan_.program.steps[k].follows_start)
        step(k, query, row, at, std::min(RowProgramPlan::chunk, plan_.keys - at), {}, /*result=*/nullptr);
}

void RowProgramRun::run(int64_t query, int64_t row, int64_t begin, int64_t end, llvm::ArrayRef<const float*> starts,
                        float* result) {
  const size_t last = plan_.program.steps.size() - 1;
  for (int64_t at = begin; at < end; at += RowProgramPlan::chunk)
    for (size_t k = 0; k <= last; ++k)
      if (plan_.program.steps[k].follows_start)
        step(k, query, row, at, std::min(RowProgramPlan::chunk, end - at), starts, k == last ? result : nullptr);
}
}  // namespace optp::kernels
