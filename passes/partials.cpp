#include "passes/partials.h"

namespace optp {
PartialState partial_result(const Node& node, const Rule& rule, const Factors& factors, const NodeAxes& axes,
                            llvm::ArrayRef<PartialState> operands, llvm::SmallVectorImpl<bool>& accepts) {
  accepts.assign(operands.size(), true);
  PartialState own;
  for (size_t k = 0; k < rule.loops.size(); ++k) {
    if (rule.loops[k].reduce == Reduce::none) continue;
    for (int c : factors.of_loop(node, int(k)).classes) {
      auto it = axes.find(c);
      if (it == axes.end()) continue;
      for (const std::string& axis : it->second)
        if (!llvm::is_contained(own.axes, axis)) own.axes.push_back(axis);
      if (!it->second.empty()) own.reduce = rule.loops[k].reduce;
    }
  }
  PartialState through;
  size_t partial_operands = 0;
  for (size_t k = 0; k < operands.size(); ++k)
    if (operands[k].is_partial()) {
      through = operands[k];
      ++partial_operands;
    }
  if (partial_operands == 0) return own;
  bool passes = false;
  switch (rule.linear) {
    case Linear::none: break;
    case Linear::view: passes = partial_operands == 1; break;
    case Linear::jointly:
      // All partial alike: a whole operand added to a partial one would be added once a rank.
      passes = through.reduce == Reduce::sum && llvm::all_of(operands, [&](const PartialState& s) { return s == through; });
      break;
    case Linear::in_each_operand: passes = through.reduce == Reduce::sum && partial_operands == 1; break;
    case Linear::in_first: passes = through.reduce == Reduce::sum && partial_operands == 1 && operands[0].is_partial(); break;
  }
  // One partial at a time: over contracted axes and over a passing operand's both, the sum would need two orders.
  if (passes && own.is_partial()) passes = false;
  // Members along an axis that splits the node's loops hold different elements, not addends of the same ones.
  for (const auto& entry : axes)
    for (const std::string& axis : entry.second)
      if (llvm::is_contained(through.axes, axis)) passes = false;
  if (passes) return through;
  for (size_t k = 0; k < operands.size(); ++k) accepts[k] = !operands[k].is_partial();
  return own;
}
}  // namespace optp
