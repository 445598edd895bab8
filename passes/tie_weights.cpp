// Exporters store a tied embedding twice: as the table, and transposed for the head's product. Made one parameter,
// it is sharded, updated and counted once, and gets one summed gradient.
//   before   %logits = contract(%h, %onnx::MatMul_363) {loops = "b s h, h v -> b s v"}
//   after    %logits = contract(%h, %wte) {loops = "b s h, v h -> b s v"}
// Only a gather's table and a product's weight can be a tied pair: a fresh model's norms are all ones and not tied.
#include "frontend/ir/op.h"
#include "passes/ops/contract.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
namespace {
// Without bytes the structure decides: the head of a model without a bias, as large as the table, is taken as tied.
bool assumed_tied(const Graph& graph, const Value& table, const Value& weight, bool transposed) {
  if (!table.data->is_missing() || !weight.data->is_missing() || table.data->dtype != weight.data->dtype) return false;
  const auto& a = table.data->dims;
  const auto& b = weight.data->dims;
  if (a.size() != 2 || b.size() != 2 || a[0] == a[1] || (transposed ? (a[0] != b[1] || a[1] != b[0]) : a != b)) return false;
  if (weight.uses.size() != 1) return false;
  const Node& product = *weight.uses[0].node;
  return graph.is_output(product.out());  // no bias after it, and its result is the model's
}
}  // namespace

llvm::Error tie_weights(Graph& graph, const PassOptions& options) {
  if (!options.tie_weights) return llvm::Error::success();
  for (Value* table : graph.data()) {
    if (!is_float(table->type.dtype) || table->ndim() < 2 || llvm::none_of(table->uses, is_table)) continue;
    for (Value* weight : graph.data()) {
      if (weight == table || weight->uses.empty() || weight->ndim() < 2 || !llvm::all_of(weight->uses, is_contract_weight)) continue;
      bool transposed = false, assumed = false, equal = false;
      for (bool t : {false, true}) {
        if (equal_contents(*table->data, *weight->data, t) && !is_constant_valued(*table->data)) equal = true, transposed = t;
        else if (!equal && assumed_tied(graph, *table, *weight, t)) equal = assumed = true, transposed = t;
        if (equal) break;
      }
      if (!equal) continue;
      llvm::SmallVector<Use, 2> uses(weight->uses.begin(), weight->uses.end());
      for (const Use& use : uses) {
        auto loops = parse_contract(use.node->text("loops"));
        if (!loops) return loops.takeError();
        if (transposed) std::swap(loops->operands[use.operand][0], loops->operands[use.operand][1]);
        use.node->attributes["loops"] = to_string(*loops);
        graph.set_operand(*use.node, use.operand, *table);
      }
      table->aliases.push_back(weight->name);
      if (transposed) table->transposed_aliases.push_back(weight->name);
      graph.remarks.push_back("'" + weight->name + "' is tied to '" + table->name + "'" +
                              (assumed ? " (assumed from its shape and place: the weights' bytes are not there)" : transposed ? ", which it equals transposed" : ", which it equals"));
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
