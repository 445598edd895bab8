// Attention in a graph: softmax over the last axis of a product's scores, with elementwise steps around it, and a
// product with the values. Recognised as one step, it runs by blocks of queries: the scores never stand whole.
#pragma once
#include <vector>

#include "llvm/ADT/DenseSet.h"
#include "runtime/fusion.h"
#include "runtime/kernel.h"

namespace optp {

// An operand or result, in elements: where the element of a batch index, a row and a column lies.
struct StridedOperand {
  unsigned operand = 0;  // of Work::operands
  DType dtype = DType::f32;
  int64_t offset = 0;
  llvm::SmallVector<int64_t, 4> batch;  // a stride for each of Attention::batch
  int64_t row = 0, column = 0;
};

// Elementwise nodes, a row of [queries, keys] at a time: from the starts, what is given to them, to the last one's
// result.
struct RowProgram {
  struct In {
    enum class Kind { start, leaf, step } kind = Kind::start;
    unsigned index = 0;  // of starts, leaves or steps
  };
  struct Step {
    const Node* node = nullptr;
    Row row = nullptr;
    llvm::SmallVector<In, 3> in;
    int64_t element_bytes = 4;
    bool follows_start =
        false;  // one of them; else it is part of a mask: the same for all scores that have the same leaves
  };
  std::vector<Step> steps;
  llvm::SmallVector<StridedOperand, 4> leaves;  // [queries, keys], the column's stride 0 or 1
  // A step's result moves by no more than its start does, times a moderate factor: where it is as low as a mask can
  // make it for one start, it is for all.
  bool is_steady = true;
};

struct Attention {
  llvm::SmallVector<int64_t, 4> batch;  // extents; heads are among them
  int64_t queries = 1, keys = 1, depth = 1, width = 1;
  StridedOperand q, k, v, y;  // [queries, depth], [keys, depth], [keys, width], [queries, width]
  RowProgram before, after;   // from the product to the softmax; from there to the product with the values
};

// What training makes of an attention: from the gradient of its result those of queries, keys and values. Scores and
// probabilities are made again, so that they never stand whole from the forward pass to the backward pass either.
struct AttentionGradient {
  Attention forward;       // without y
  StridedOperand dy;       // [queries, width]
  RowProgram undo_after;   // starts: the gradient of what the values' product takes, and the probabilities
  RowProgram undo_before;  // starts: the gradient of what the softmax takes, and the scores
  // A product with the gradient of the scores, or with what the values' product takes: what is summed up, and the sum.
  struct Sum {
    StridedOperand operand, result;  // `result.operand`: of Work::results
    int64_t columns = 0;             // 0: nobody needs it
  };
  Sum dq, dk, dv;  // of keys for queries; of queries for keys; of dy for values
};

// All attentions of the graph, and their gradients; what they absorb of masks, repeated heads and casts is no longer
// needed by others where `taken` has it. Masks up to `whole_bytes` stand whole: they are computed once for all layers.
struct FoundAttentions {
  std::vector<FusedStep> steps;
  llvm::DenseSet<const Node*> taken;
};
FoundAttentions find_attentions(const Graph& graph, const KernelContext& context, int64_t whole_bytes);

}  // namespace optp
