// What of a training step belongs to which parameter, by what its outputs and updates say and by what is computed of
// it.
#include "frontend/ir/op.h"
#include "llvm/ADT/STLExtras.h"
#include "passes/training.h"

namespace optp {
namespace {
class Groups {
 public:
  explicit Groups(const Graph& graph) : graph_(graph) {}
  std::vector<OfParameter> run() && {
    for (const GradientOutput& g : graph_.gradients) {
      Value* const parameter = graph_.find(g.parameter);
      add(OfParameter::Kind::parameter, *parameter, *parameter);
      add(OfParameter::Kind::gradient, output(g.output), *parameter);
    }
    for (const Update& u : graph_.updates)
      if (!u.parameter.empty())
        add(is_sum(u) ? OfParameter::Kind::gradient : OfParameter::Kind::optimizer, *graph_.find(u.input),
            *graph_.find(u.parameter));
    // What a sum over micro-batches takes in.
    for (const Update& u : graph_.updates)
      if (!u.parameter.empty() && is_sum(u)) {
        Value& sum = output(u.output);
        add(OfParameter::Kind::gradient, sum, *graph_.find(u.parameter));
        for (Value* v : sum.producer->operands) add(OfParameter::Kind::gradient, *v, *graph_.find(u.parameter));
      }
    for (const auto& node : graph_.nodes)
      if (node->phase == Phase::optimizer && node->out().ndim() > 0) add_result(*node);
    for (const auto& node : llvm::reverse(graph_.nodes)) {
      const OfParameter* sum = find(node->out());
      if (!sum || sum->kind != OfParameter::Kind::gradient || !node->op->is(Trait::adds_many)) continue;
      Value* const parameter = sum->parameter;  // add() moves what `sum` points at
      for (Value* v : node->operands)
        if (v->uses.size() == 1) add(OfParameter::Kind::gradient, *v, *parameter);
    }
    return std::move(all_);
  }

 private:
  static bool is_sum(const Update& u) { return u.kind.of == UpdateKind::accumulated; }
  Value& output(llvm::StringRef name) const {
    return *llvm::find_if(graph_.outputs, [&](const GraphOutput& o) { return o.name == name; })->value;
  }
  const OfParameter* find(const Value& v) const {
    const auto at = place_.find(&v);
    return at == place_.end() ? nullptr : &all_[at->second];
  }
  void add(OfParameter::Kind kind, Value& v, Value& parameter) {
    if (place_.try_emplace(&v, all_.size()).second) all_.push_back({kind, &v, &parameter});
  }
  void add_result(const Node& node) {
    for (const Value* v : node.operands) {
      const OfParameter* of = find(*v);
      if (!of || node.out().type.dims != of->parameter->type.dims) continue;
      Value* const parameter = of->parameter;
      return add(OfParameter::Kind::optimizer, node.out(), *parameter);
    }
  }

  const Graph& graph_;
  std::vector<OfParameter> all_;
  llvm::DenseMap<const Value*, size_t> place_;
};
}  // namespace

std::vector<OfParameter> parameter_groups(const Graph& graph) { return Groups(graph).run(); }

}  // namespace optp
