// Elementwise nodes of one shape that stand behind each other, run as one step: a piece of a row goes through all of
// them while it is in the first-level cache, and only what others read is written. An optimizer's update, a dozen nodes
// a parameter, so reads parameter, gradient and moments once.
#pragma once
#include <vector>

#include "llvm/ADT/DenseSet.h"
#include "runtime/fusion.h"
#include "runtime/kernel.h"

namespace optp {

struct ElementwiseGroup {
  struct In {
    bool is_step = false;  // else an operand of the Work
    unsigned index = 0;
  };
  struct Step {
    Row row = nullptr;
    llvm::SmallVector<In, 3> in;
    int64_t element_bytes = 4;
    int result = -1;  // of the Work; -1: only later steps read it
  };
  std::vector<Step> steps;  // all of the results' dims, to which operands are broadcast
};

// Of nodes that are not in `taken`, each at most once. A group's intermediate values stand nowhere, and it runs where
// its last node does: nothing but its own nodes needs what they make before. `read`: what other steps read, perhaps in
// the place of what the graph's nodes read, as products do of operands before they were widened.
std::vector<FusedStep> find_elementwise_groups(const Graph& graph, const KernelContext& context,
                                               const llvm::DenseSet<const Node*>& taken,
                                               const llvm::DenseSet<const Value*>& read);

}  // namespace optp
