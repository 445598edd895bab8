// Which nodes run inside of a neighbour's kernel.
#pragma once
#include <vector>

#include "frontend/ir/graph.h"
#include "llvm/ADT/DenseSet.h"
#include "runtime/kernel.h"

namespace optp {

struct FusedStep {
  const Node* anchor = nullptr;        // contract or softmax; of a group the first node
  const Node* last = nullptr;          // the step runs in its place
  std::vector<const Node*> nodes;      // all, in order; anchor among them
  std::vector<const Node*> absorbed;   // widening casts of a product's operands, which it takes as they were before
  std::vector<const Value*> operands;  // the anchor's (its first replaced by the head's), then those of adds
  llvm::SmallVector<Fused, 2> before;
  llvm::SmallVector<Fused, 4> after;
  std::shared_ptr<const Attention> attention;  // where the step is one (runtime/attention.h)
  std::shared_ptr<const AttentionGradient> attention_gradient;
  std::shared_ptr<const ElementwiseGroup> group;  // where it is one (runtime/elementwise_group.h)
  std::vector<const Value*> results;              // of those that make several; of others the last node's
};

// The step of one softmax or contract with as much as may be fused: intermediates have one use and are no outputs, and
// no node in `taken` is used twice. `most` limits the steps fused, for kernels that can't do all of them. `narrow`: a
// product takes operands that were widened from half precision as they were before.
FusedStep fuse(const Graph& graph, const Node& anchor, const llvm::DenseSet<const Node*>& taken, size_t most = 8,
               bool narrow = false);

}  // namespace optp
