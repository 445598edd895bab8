// A product of any loop lists as one of matrices: which loops are batch, rows, columns and the sum, and what must be
// copied into order first so that each is one strided dim.
#pragma once
#include <array>

#include "runtime/kernel.h"
#include "runtime/kernels/strided.h"

namespace optp::kernels {

// Tensors of a loop: a, b, y, then the addends that follow.
enum : size_t { A = 0, B = 1, Y = 2 };
struct StridedLoop {
  int64_t extent = 1;
  llvm::SmallVector<int64_t, 4> stride;  // 0: the operand lacks this loop
  bool in[3] = {false, false, false};
};
using LoopList = llvm::SmallVector<StridedLoop, 4>;

struct Groups {
  LoopList batch, m, n, k;
};

// One way to run the product: which operand is oneDNN's src, and which tensors are copied into order.
struct Form {
  bool swapped = false;
  bool copied[3] = {false, false, false};
  Groups groups;
  int64_t cost = INT64_MAX;  // bytes copied at run time
};

// Operands and y in order: copies in the scratch from `offset` on, -1 where the tensor is used as it is.
struct Copies {
  StridedCopy copy[3];
  int64_t offset[3] = {-1, -1, -1};
  int64_t end = 0;

  // A run's operands as the product reads them: copied where they must be, else as they lie.
  std::array<const void*, 2> operands(const KernelCall& call, int threads) const;
  // Where the product writes, and what brings that to the result.
  void* result(const KernelCall& call) const;
  void finish(const KernelCall& call, int threads) const;
};
inline int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

bool has_addends(const Work& work);
// The loops of `work`, an addend's strides after y's. None: a sum over one operand alone, which no matrix product is.
std::optional<LoopList> loops_of(const Work& work, const ContractLoops& lists);
// The form that copies least; a weight known now is copied at no cost. None: no form is strided.
std::optional<Form> best_form(const Work& work, const LoopList& loops);
// What the form copies, in the order a, b, y. A constant weight gets no place in the scratch: it is copied once.
Copies copies_of(const Work& work, const LoopList& loops, const Form& form);

}  // namespace optp::kernels
