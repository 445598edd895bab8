// The input of ids: what chooses rows of a table of floats.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "passes/cached_decoder.h"

namespace optp {

llvm::Expected<const Value*> ids_of(const Graph& graph) {
  for (const auto& node : graph.nodes) {
    if (!node->op->is(Trait::looks_up) || !node->operand(0).is_data() || !is_float(node->operand(0).type.dtype))
      continue;
    const Value* ids = &node->operand(1);
    while (ids->producer && ids->producer->op->is(view_traits)) ids = &ids->producer->operand(0);
    if (ids->producer || ids->is_data() || ids->ndim() != 2) continue;
    if (name_of(ids->type.dims[1])) return ids;
    return error(Code::not_supported)
        .in_file(graph.source)
        .tensor("input", ids->name)
        .what("a cache for decoding")
        .expected("a named second dim, for any number of tokens")
        .found(ids->type.dims[1].text())
        .hint("export the model with a dynamic sequence");
  }
  return error(Code::not_supported)
      .in_file(graph.source)
      .what("a cache for decoding")
      .expected("an input of ids, [batch, sequence], that choose rows of a table")
      .found("none");
}
}  // namespace optp
