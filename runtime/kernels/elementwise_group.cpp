// A group of elementwise steps (runtime/elementwise_group.h), a piece of a row at a time. What a step makes for later
// ones lies in a buffer, which another takes when the last of them has read it; what others read is written where it
// belongs, and read from there.
#include "runtime/elementwise_group.h"

#include "runtime/kernels/strided.h"
#include "runtime/parallel.h"

namespace optp::kernels {
namespace {
constexpr int64_t chunk = 1024, grain_elements = 1 << 14, widest = 8;  // elements; bytes of one

struct GroupKernel {
  std::shared_ptr<const ElementwiseGroup> group;
  Loops loops;                            // the results, then the operands
  llvm::SmallVector<int64_t, 8> element;  // bytes, of operands
  llvm::SmallVector<int64_t, 8> step;     // of operands along a row
  llvm::SmallVector<int, 16> buffer_of;   // of a step; -1: it writes a result
  int64_t buffers = 0;
  int threads = 1;

  int64_t thread_bytes() const { return buffers * chunk * widest; }
  void assign_buffers();
  void run_piece(const KernelCall& call, llvm::ArrayRef<int64_t> at, int64_t begin, int64_t n, char* own) const;
  llvm::Error run(const KernelCall& call) const;
};

// Step by step, each the first buffer that is free.
void GroupKernel::assign_buffers() {
  const auto& steps = group->steps;
  llvm::SmallVector<size_t, 16> last(steps.size(), 0);
  for (size_t s = 0; s < steps.size(); ++s)
    for (const auto& in : steps[s].in)
      if (in.is_step) last[in.index] = s;
  llvm::SmallVector<size_t, 8> busy_until;
  for (size_t s = 0; s < steps.size(); ++s) {
    buffer_of.push_back(-1);
    if (steps[s].result >= 0) continue;
    auto* free = llvm::find_if(busy_until, [&](size_t until) { return until < s; });
    if (free == busy_until.end()) free = &busy_until.emplace_back();
    *free = std::max(last[s], s);
    buffer_of[s] = int(free - busy_until.begin());
  }
  buffers = int64_t(busy_until.size());
}

void GroupKernel::run_piece(const KernelCall& call, llvm::ArrayRef<int64_t> at, int64_t begin, int64_t n,
                            char* own) const {
  auto place = [&](size_t s) {
    const auto& step = group->steps[s];
    return step.result >= 0 ? static_cast<char*>(call.out[size_t(step.result)]) + (at[0] + begin) * step.element_bytes
                            : own + buffer_of[s] * chunk * widest;
  };
  for (size_t s = 0; s < group->steps.size(); ++s) {
    const auto& one = group->steps[s];
    const void* in[4];
    int64_t by[4];
    for (size_t k = 0; k < one.in.size(); ++k) {
      const unsigned index = one.in[k].index;
      by[k] = one.in[k].is_step ? 1 : step[index];
      in[k] = one.in[k].is_step
                  ? place(index)
                  : static_cast<const char*>(call.in[index]) + (at[index + 1] + begin * by[k]) * element[index];
    }
    one.row(n, in, by, place(s));
  }
}

llvm::Error GroupKernel::run(const KernelCall& call) const {
  const int64_t rows = loops.row_count(), n = loops.row_length();
  if (rows == 0 || n == 0) return llvm::Error::success();
  // Threads share out pieces of rows where there is one row, else rows.
  const int64_t units = rows == 1 ? n : rows,
                parts = std::max<int64_t>(1, std::min<int64_t>(threads, rows * n / grain_elements));
  parallel_for(threads, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      char* own = static_cast<char*>(call.scratch) + part * thread_bytes();
      const int64_t begin = units * part / parts, end = units * (part + 1) / parts;
      auto pieces = [&](llvm::ArrayRef<int64_t> at, int64_t from, int64_t to) {
        for (int64_t k = from; k < to; k += chunk) run_piece(call, at, k, std::min(chunk, to - k), own);
      };
      if (rows == 1)
        pieces(Ints(loops.strides.size(), 0), begin, end);
      else
        loops.rows(begin, end, [&](llvm::ArrayRef<int64_t> at) { pieces(at, 0, n); });
    }
  });
  return llvm::Error::success();
}

// Each element of a result may be written where its operand's was read, if no later step reads that.
unsigned may_take(const Work& work, int result) {
  const auto& steps = work.group->steps;
  unsigned out = 0;
  for (size_t k = 0; k < work.operands.size(); ++k)
    if (work.operands[k].dims == work.results[size_t(result)].dims &&
        size_bytes(work.operands[k].dtype) == size_bytes(work.results[size_t(result)].dtype))
      out |= 1u << k;
  bool is_written = false;
  for (const auto& step : steps) {
    if (is_written)
      for (const auto& in : step.in)
        if (!in.is_step) out &= ~(1u << in.index);
    is_written |= step.result == result;
  }
  return out;
}

llvm::Expected<Kernel> compile_group(const Work& work, const KernelContext& context) {
  auto k = std::make_shared<GroupKernel>();
  k->group = work.group;
  k->threads = context.threads;
  const auto& dims = work.results[0].dims;
  k->loops.dims.assign(dims.begin(), dims.end());
  k->loops.strides.push_back(strides_of(dims));
  for (const TensorSpec& s : work.operands) {
    k->loops.strides.push_back(broadcast_strides(s.dims, dims));
    k->element.push_back(size_bytes(s.dtype));
  }
  k->loops.collapse();
  for (size_t o = 0; o < work.operands.size(); ++o) k->step.push_back(k->loops.row_stride(o + 1));
  k->assign_buffers();
  Kernel kernel;
  kernel.in_place = may_take(work, 0);
  for (size_t r = 1; r < work.results.size(); ++r) kernel.more_in_place.push_back(may_take(work, int(r)));
  kernel.scratch_bytes = k->thread_bytes() * k->threads;
  kernel.run = [k = std::shared_ptr<const GroupKernel>(std::move(k))](const KernelCall& call) { return k->run(call); };
  return kernel;
}
const RegisteredGroup group{compile_group};
}  // namespace
}  // namespace optp::kernels
