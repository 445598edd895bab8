// Half-precision models are computed in float32: weights stay half in files and memory plans,
// and explicit casts say what is computed in what.
//   before   %y = contract(%x: f16[..], %w: f16[..])
//   after    %w.f32 = cast(%w)   %y = contract(%x: f32[..], %w.f32)
#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
llvm::Error precision(Graph& graph, const PassOptions&) {
  Node* first = graph.nodes.empty() ? nullptr : graph.nodes.front().get();
  Builder build(graph);
  build.set_fold(false);
  auto widened = [&](Value& v, Node* place) -> llvm::Expected<Value*> {
    build.before(place);
    return build.create("cast", {&v}, {{"to", int64_t(DType::f32)}}, v.name + ".f32");
  };
  auto replace_uses = [&](Value& v, Value& by) {
    llvm::SmallVector<Use, 4> uses(v.uses.begin(), v.uses.end());
    for (const Use& use : uses)
      if (use.node != by.producer && !is_table(use)) graph.set_operand(*use.node, use.operand, by);
  };
  std::vector<Node*> nodes;
  for (auto& n : graph.nodes) nodes.push_back(n.get());
  llvm::SmallVector<Value*, 32> sources(graph.inputs.begin(), graph.inputs.end());
  for (Value* v : graph.data()) sources.push_back(v);
  for (Value* v : sources) {
    if (!is_half(v->type.dtype) || v->uses.empty()) continue;
    auto wide = widened(*v, first);
    if (!wide) return wide.takeError();
    replace_uses(*v, **wide);
  }
  // Rows are looked up as they are stored; widening the table would cost its size.
  for (Node* node : nodes) {
    if (!node->op->is(Trait::looks_up) || !is_half(node->operand(0).type.dtype)) continue;
    build.before(std::next(node->place) == graph.nodes.end() ? nullptr : std::next(node->place)->get());
    auto wide = build.create("cast", {&node->out()}, {{"to", int64_t(DType::f32)}}, node->out().name + ".f32");
    if (!wide) return wide.takeError();
    replace_uses(node->out(), **wide);
    for (GraphOutput& o : graph.outputs)
      if (o.value == &node->out()) o.value = *wide;
  }
  llvm::DenseMap<Value*, DType> half_outputs;
  for (const GraphOutput& o : graph.outputs)
    if (is_half(o.value->type.dtype) && o.value->producer) half_outputs[o.value] = o.value->type.dtype;
  for (Node* node : nodes) {
    if (node->op->is(Trait::converts) && is_half(DType(node->integer("to"))))
      node->attributes["to"] = int64_t(DType::f32);
    if (node->op->is(Trait::looks_up) && is_half(node->operand(0).type.dtype)) continue;
    for (auto& r : node->results)
      if (is_half(r->type.dtype)) r->type.dtype = DType::f32;
  }
  for (GraphOutput& o : graph.outputs) {
    auto it = half_outputs.find(o.value);
    if (it == half_outputs.end()) continue;
    build.before(nullptr);
    auto narrow = build.create("cast", {o.value}, {{"to", int64_t(it->second)}},
                               o.value->name + "." + to_string(it->second).str());
    if (!narrow) return narrow.takeError();
    o.value = *narrow;
  }
  // Casts from float32 to float32 are left where the model cast up or down.
  for (auto it = graph.nodes.begin(); it != graph.nodes.end();) {
    Node& node = **it++;
    if (node.op->is(Trait::converts) && node.operand(0).type.dtype == node.out().type.dtype) {
      graph.replace_all_uses(node.out(), node.operand(0));
      graph.erase(node);
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
