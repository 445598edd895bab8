// Half-precision models are computed in float32: weights stay half in files and memory plans,
// and explicit casts say what is computed in what.
//   before   %y = contract(%x: f16[..], %w: f16[..])
//   after    %w.f32 = cast(%w)   %y = contract(%x: f32[..], %w.f32)
#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/weights.h"

namespace optp {
namespace {
class Widening {
 public:
  explicit Widening(Graph& graph) : graph_(graph), build_(graph) {
    build_.set_fold(false);
    for (auto& n : graph.nodes) nodes_.push_back(n.get());
  }
  llvm::Error run() {
    if (auto e = widen_sources()) return e;
    if (auto e = widen_rows()) return e;
    remember_half_outputs();
    compute_wide();
    if (auto e = narrow_outputs()) return e;
    remove_empty_casts();
    return llvm::Error::success();
  }

 private:
  llvm::Error widen_sources() {
    Node* first = nodes_.empty() ? nullptr : nodes_.front();
    llvm::SmallVector<Value*, 32> sources(graph_.inputs.begin(), graph_.inputs.end());
    for (Value* v : graph_.data()) sources.push_back(v);
    for (Value* v : sources) {
      if (!is_half(v->type.dtype) || v->uses.empty()) continue;
      auto wide = widened(*v, first);
      if (!wide) return wide.takeError();
    }
    return llvm::Error::success();
  }
  // Rows are looked up as they are stored; widening the table would cost its size.
  llvm::Error widen_rows() {
    for (Node* node : nodes_) {
      if (!looks_up_half(*node)) continue;
      const auto next = std::next(node->place);
      auto wide = widened(node->out(), next == graph_.nodes.end() ? nullptr : next->get());
      if (!wide) return wide.takeError();
      for (GraphOutput& o : graph_.outputs)
        if (o.value == &node->out()) o.value = *wide;
    }
    return llvm::Error::success();
  }
  void remember_half_outputs() {
    for (const GraphOutput& o : graph_.outputs)
      if (is_half(o.value->type.dtype) && o.value->producer) half_outputs_[o.value] = o.value->type.dtype;
  }
  void compute_wide() {
    for (Node* node : nodes_) {
      if (node->op->is(Trait::converts) && is_half(DType(node->integer("to"))))
        node->attributes["to"] = int64_t(DType::f32);
      if (looks_up_half(*node)) continue;
      for (auto& r : node->results)
        if (is_half(r->type.dtype)) r->type.dtype = DType::f32;
    }
  }
  llvm::Error narrow_outputs() {
    for (GraphOutput& o : graph_.outputs) {
      auto it = half_outputs_.find(o.value);
      if (it == half_outputs_.end()) continue;
      auto narrow = cast(*o.value, it->second, to_string(it->second), /*place=*/nullptr);
      if (!narrow) return narrow.takeError();
      o.value = *narrow;
    }
    return llvm::Error::success();
  }
  // Casts from float32 to float32 are left where the model cast up or down.
  void remove_empty_casts() {
    for (auto it = graph_.nodes.begin(); it != graph_.nodes.end();) {
      Node& node = **it++;
      if (node.op->is(Trait::converts) && node.operand(0).type.dtype == node.out().type.dtype) {
        graph_.replace_all_uses(node.out(), node.operand(0));
        graph_.erase(node);
      }
    }
  }

  static bool looks_up_half(const Node& node) {
    return node.op->is(Trait::looks_up) && is_half(node.operand(0).type.dtype);
  }
  llvm::Expected<Value*> cast(Value& v, DType to, llvm::StringRef suffix, Node* place) {
    build_.before(place);
    return build_.create("cast", {&v}, {{"to", int64_t(to)}}, v.name + "." + suffix.str());
  }
  // For all its users but those that look rows up in it.
  llvm::Expected<Value*> widened(Value& v, Node* place) {
    auto wide = cast(v, DType::f32, "f32", place);
    if (!wide) return wide.takeError();
    llvm::SmallVector<Use, 4> uses(v.uses.begin(), v.uses.end());
    for (const Use& use : uses)
      if (use.node != (*wide)->producer && !is_table(use)) graph_.set_operand(*use.node, use.operand, **wide);
    return wide;
  }

  Graph& graph_;
  Builder build_;
  std::vector<Node*> nodes_;  // those of the model, without the casts
  llvm::DenseMap<Value*, DType> half_outputs_;
};
}  // namespace

llvm::Error precision(Graph& graph, const PassOptions&) { return Widening(graph).run(); }
}  // namespace optp
