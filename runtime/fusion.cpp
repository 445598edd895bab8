#include "runtime/fusion.h"

#include "frontend/ir/op.h"

namespace optp {
namespace {
bool inner(const Graph& graph, const Value& v) { return v.producer && v.uses.size() == 1 && !graph.is_output(v); }
bool floating32(const Value& v) { return v.type.dtype == DType::f32; }

// How `node` could follow `value` elementwise: the same dtype and dims out as in.
struct Link {
  Fused fused;
  const Value* other = nullptr;  // add's
};
std::optional<Link> link(const Node& node, const Value& value) {
  if (node.out().type != value.type || !floating32(value)) return std::nullopt;
  const Fusion fusion = fusion_of(node);
  if (fusion == Fusion::is_relu) return Link{{Fused::Kind::relu}, nullptr};
  if (node.operands.size() != 2 || node.operands[0] == node.operands[1]) return std::nullopt;
  const Value& other = node.operand(node.operands[0] == &value ? 1 : 0);
  if (fusion == Fusion::is_add) return Link{{Fused::Kind::add}, &other};
  const bool multiplies = fusion == Fusion::is_multiply;
  if (multiplies || (fusion == Fusion::is_divide && node.operands[0] == &value))
    if (auto s = scalar_constant(other)) return Link{{Fused::Kind::scale, 0, multiplies ? *s : 1 / *s}, nullptr};
  return std::nullopt;
}
// Both operands of a product, where both are widened from one half precision.
void take_narrow(FusedStep& step) {
  if (!step.anchor->op->is(Trait::product)) return;
  DType half = DType::undefined;
  for (const Value* v : step.anchor->operands) {
    const Node* cast = v->producer;
    if (!cast || !cast->op->is(Trait::converts) || !is_half(cast->operand(0).type.dtype)) return;
    if (half != DType::undefined && cast->operand(0).type.dtype != half) return;
    half = cast->operand(0).type.dtype;
  }
  for (size_t k = 0; k < 2; ++k) {
    step.absorbed.push_back(step.anchor->operand(k).producer);
    step.operands[k] = &step.absorbed.back()->operand(0);
  }
}
}  // namespace

FusedStep fuse(const Graph& graph, const Node& anchor, const llvm::DenseSet<const Node*>& taken, size_t most,
               bool narrow) {
  FusedStep step;
  step.anchor = step.last = &anchor;
  step.operands.assign(anchor.operands.begin(), anchor.operands.end());
  step.nodes = {&anchor};
  auto add_operand = [&](Link& l) {
    if (!l.other) return;
    l.fused.operand = unsigned(step.operands.size());
    step.operands.push_back(l.other);
  };
  if (fusion_of(anchor) == Fusion::takes_before) {
    const Value* head = &anchor.operand(0);
    while (step.before.size() < most && inner(graph, *head) && !taken.contains(head->producer)) {
      // Of add's two operands the one that has the result's shape and is itself inner goes on; else any of that shape.
      const Node& node = *head->producer;
      const Value* next = nullptr;
      for (bool wants_inner : {true, false})
        for (const Value* v : node.operands)
          if (!next && link(node, *v) && (!wants_inner || inner(graph, *v))) next = v;
      if (!next) break;
      Link l = *link(node, *next);
      if (l.fused.kind == Fused::Kind::relu) break;
      add_operand(l);
      step.before.insert(step.before.begin(), l.fused);
      step.nodes.insert(step.nodes.begin(), &node);
      head = next;
    }
    step.operands[0] = head;
  } else if (fusion_of(anchor) == Fusion::takes_after && floating32(anchor.out())) {
    if (narrow) take_narrow(step);
    while (step.after.size() < most && inner(graph, step.last->out())) {
      const Node& node = *step.last->out().uses[0].node;
      auto l = link(node, step.last->out());
      if (!l || taken.contains(&node)) break;
      add_operand(*l);
      step.after.push_back(l->fused);
      step.nodes.push_back(&node);
      step.last = &node;
    }
  }
  return step;
}
}  // namespace optp
