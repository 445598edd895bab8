#include "tools/mutants.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"

namespace optp {
llvm::Error apply_mutant(Graph& graph, int64_t rank, llvm::StringRef mutant) {
  auto [kind, argument] = mutant.split(':');
  auto none = [&] { return error(Fault::usage, "--mutant " + quoted(mutant) + ": nothing in the graph to break that way"); };
  if (kind == "drop-all-reduce") {
    int64_t wanted = 0, seen = 0;
    if (!argument.empty() && argument.getAsInteger(10, wanted)) return error(Fault::usage, "--mutant " + quoted(mutant));
    for (auto& node : graph.nodes)
      if (node->op->name == "all_reduce" && seen++ == wanted) {
        graph.replace_all_uses(node->out(), node->operand(0));
        graph.erase(*node);
        return llvm::Error::success();
      }
    return none();
  }
  if (kind == "row-bias-everywhere") {
    // y = all_reduce(p) + bias becomes all_reduce(p + bias): the bias counts once a rank.
    for (auto& node : graph.nodes) {
      if (node->op->name != "all_reduce" || node->out().uses.size() != 1) continue;
      Node& add = *node->out().uses[0].node;
      if (add.op->name != "add") continue;
      const unsigned bias = 1 - node->out().uses[0].operand;
      if (!add.operand(bias).is_data()) continue;
      Node& early = graph.add_node(*add.op, {&node->operand(0), &add.operand(bias)}, {node->operand(0).type}, {"mutant"}, node.get());
      graph.set_operand(*node, 0, early.out());
      graph.replace_all_uses(add.out(), node->out());
      return llvm::Error::success();
    }
    return none();
  }
  if (kind == "shift-shard") {
    bool any = false;
    for (Value* v : graph.data()) {
      if (!v->is_parameter || v->held.empty() || (!argument.empty() && v->name != argument)) continue;
      any = true;
      if (rank == 1)
        for (size_t d = 0; d < v->held.size(); ++d)
          if (v->held[d].size() == 1 && v->held[d][0].first > 0) {
            --v->held[d][0].first;
            return llvm::Error::success();
          }
      if (rank != 1) return llvm::Error::success();
    }
    return any ? llvm::Error::success() : none();
  }
  return error(Fault::usage, "--mutant " + quoted(mutant) + ": expected drop-all-reduce, row-bias-everywhere or shift-shard");
}
}  // namespace optp
