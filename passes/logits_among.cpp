// The output that scores the next token.
#include "passes/cached_decoder.h"
#include "passes/input_names.h"

namespace optp {
const GraphOutput* logits_among(const Graph& graph, Dim rows, int64_t ids) {
  const GraphOutput* out = nullptr;
  int64_t widest = -1;
  for (const GraphOutput& o : graph.outputs) {
    const bool is_state = llvm::any_of(graph.states, [&](const State& s) { return s.output == o.name; });
    const llvm::ArrayRef<Dim> dims = o.value->logical_dims.empty() ? o.value->type.dims : o.value->logical_dims;
    if (is_state || dims.empty() || !is_float(o.value->type.dtype)) continue;
    const int64_t width = dims.back().constant().value_or(0);
    if (dims.size() != 3 && !(dims.size() == 2 && dims[0] == rows && width >= ids)) continue;
    if (o.name == logits_name) return &o;
    if (width > widest) out = &o, widest = width;
  }
  return out;
}
}  // namespace optp
