// An output that is concat(input, new) is state: a key/value cache. It keeps its input's sharding. Rows of the input
// that a sequence does not have yet may be chosen from the new ones before: concat(where(old, input, new), new).
#include "frontend/ir/op.h"
#include "passes/passes.h"

namespace optp {
llvm::Error find_states(Graph& graph, const PassOptions&) {
  graph.states.clear();
  for (const GraphOutput& output : graph.outputs) {
    const Value* v = output.value;
    if (v->producer && v->producer->op->is(Trait::converts)) v = &v->producer->operand(0);
    if (!v->producer || !v->producer->op->is(Trait::joins)) continue;
    const Value* input = &v->producer->operand(0);
    if (const Node* chosen = input->producer; chosen && chosen->operands.size() == 3 &&
                                              chosen->operand(0).type.dtype == DType::boolean &&
                                              chosen->operand(1).type == input->type)
      input = &chosen->operand(1);
    if (input->producer && input->producer->op->is(Trait::converts)) input = &input->producer->operand(0);
    if (llvm::is_contained(graph.inputs, input))
      graph.states.push_back({input->name, output.name, v->producer->integer("axis")});
  }
  return llvm::Error::success();
}
}  // namespace optp
