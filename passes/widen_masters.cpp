// Half-precision parameters are trained as float32 masters; the model still computes with their half-precision values.
//   before   %y = contract(%x, %w: f16[..])
//   after    %w.f16 = cast(%w: f32[..])   %y = contract(%x, %w.f16)
#include "frontend/ir/builder.h"
#include "passes/training.h"

namespace optp {
llvm::Error widen_masters(Graph& graph) {
  Builder build(graph);
  build.set_fold(false);
  for (Value* v : graph.data()) {
    if (!v->is_parameter || v->frozen || !is_half(v->type.dtype)) continue;
    const DType half = v->type.dtype;
    llvm::SmallVector<Use, 4> uses(v->uses.begin(), v->uses.end());
    v->type.dtype = DType::f32;
    if (v->data->is_missing()) {
      auto wide = std::make_shared<Tensor>(*v->data);
      wide->dtype = DType::f32;
      v->data = std::move(wide);
    } else {
      v->data = to_tensor(to_array(*v->data), DType::f32);
    }
    build.before(graph.nodes.front().get());
    auto narrow = build.create("cast", {v}, {{"to", int64_t(half)}}, v->name + "." + to_string(half).str());
    if (!narrow) return narrow.takeError();
    (*narrow)->sharding = v->sharding;
    (*narrow)->cause = {CauseKind::propagated, "the half-precision value of a float32 master", v->name};
    for (const Use& use : uses) graph.set_operand(*use.node, use.operand, **narrow);
  }
  return llvm::Error::success();
}
}  // namespace optp
