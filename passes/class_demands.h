// What constraints on single values ask of classes of factors: what is computed with a weight follows it where it can.
#pragma once
#include "passes/constraints.h"

namespace optp {

struct ClassDemand {
  const ValueConstraint* by = nullptr;  // null: nobody asks
  AxisUses axes;                        // none: whole
};
// Of every class. Errors: two lines that can't hold together, both named.
llvm::Expected<std::vector<ClassDemand>> class_demands(const Factors& factors, const Recogniser& recogniser,
                                                       llvm::ArrayRef<ValueConstraint> asked);

// constraint_costs.cpp: what a line changes of how a tensor is held.
struct HeldAs {
  const Value* value;
  const ConstraintLine* by;
  Sharding before, after;  // by the strategy alone, and with the line
  bool is_named = false;   // by the line; others follow
  bool follows = false;    // what is computed with it follows the line
  bool is_moved = false;   // it is held other than the nodes that use it need it: each run brings it there
};
std::string bytes_in_words(int64_t bytes);  // "576.0 KiB"
// A sentence for each line that changes anything, in the order of lines, and one for those that do not.
std::vector<std::string> cost_remarks(const Mesh& mesh, llvm::ArrayRef<HeldAs> held);
}  // namespace optp
