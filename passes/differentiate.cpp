// Reverse mode over the graph (Griewank and Walther, "Evaluating Derivatives", chapter 3): nodes in reverse order, each
// by its op's own rule. A value that several nodes use gets one n-ary sum of what they give it, so that partial sums
// among them meet in one all-reduce. Gradients are nodes like any other: nothing after this knows "backward".
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "passes/training.h"

namespace optp {
namespace {
class Reverse {
 public:
  Reverse(Graph& graph, Value& from) : graph_(graph), build_(graph) {
    build_.set_fold(false);
    build_.phase(Phase::backward);
    for (Value* v : graph.data())
      if (v->is_parameter && !v->frozen) varies_.insert(v);
    // Only what lies between a trained parameter and `from` has a gradient.
    llvm::DenseSet<const Value*> reaches{&from};
    for (const auto& node : graph.nodes) order_.push_back(node.get());
    for (Node* node : order_)
      if (is_float(node->out().type.dtype) &&
          llvm::any_of(node->operands, [&](const Value* v) { return varies_.contains(v); }))
        varies_.insert(&node->out());
    for (Node* node : llvm::reverse(order_))
      if (llvm::any_of(node->results, [&](const auto& r) { return reaches.contains(r.get()); }))
        for (const Value* v : node->operands) reaches.insert(v);
    for (const Value* v : llvm::SmallVector<const Value*>(varies_.begin(), varies_.end()))
      if (!reaches.contains(v)) varies_.erase(v);
  }

  llvm::Error run(Value& from, Value& gradient) {
    addends_[&from].push_back(&gradient);
    for (Node* node : llvm::reverse(order_))
      if (varies_.contains(&node->out()))
        if (auto e = visit(*node)) return e;
    return llvm::Error::success();
  }
  llvm::Expected<Value*> of(Value& v) {
    auto it = addends_.find(&v);
    if (it == addends_.end()) return nullptr;
    llvm::SmallVector<Value*, 3>& list = it->second;
    if (list.size() > 1) {
      auto sum = build_.create("sum", list, {}, v.name + ".grad");
      if (!sum) return sum.takeError();
      list = {*sum};
    }
    return list[0];
  }
  Builder& builder() { return build_; }

 private:
  llvm::Error visit(Node& node) {
    build_.at(node.name.empty() ? node.out().name : node.name, "");
    auto dy = of(node.out());
    if (!dy) return dy.takeError();
    if (!*dy) return llvm::Error::success();
    llvm::SmallVector<bool, 4> needed;
    for (const Value* v : node.operands) needed.push_back(varies_.contains(v));
    if (!node.op->gradient)
      return error(Code::malformed)
          .at(node)
          .what("op '" + node.op->name + "' has no gradient")
          .hint("a parameter that training changes depends on it");
    build_.at(node.name.empty() ? node.out().name + "/backward" : node.name + "/backward", "");
    GradientContext context(build_, node, *dy, needed);
    node.op->gradient(context);
    if (auto e = context.take_error())
      return within(words("gradient of"), within(joined(" ", place_of(node)), std::move(e)));
    for (unsigned k = 0; k < node.operands.size(); ++k)
      if (needed[k] && context.dx[k]) addends_[node.operands[k]].push_back(context.dx[k]);
    return llvm::Error::success();
  }

  Graph& graph_;
  Builder build_;
  std::vector<Node*> order_;
  llvm::DenseSet<const Value*> varies_;
  llvm::DenseMap<const Value*, llvm::SmallVector<Value*, 3>> addends_;
};
}  // namespace

llvm::Expected<std::vector<ParameterGradient>> differentiate(Graph& graph, Value& from, Value& gradient) {
  const std::vector<Value*> data = graph.data();
  Reverse reverse(graph, from);
  if (auto e = reverse.run(from, gradient)) return e;
  std::vector<ParameterGradient> out;
  for (Value* v : data) {
    if (!v->is_parameter || v->frozen) continue;
    reverse.builder().at(v->name, "");
    auto g = reverse.of(*v);
    if (!g) return g.takeError();
    if (!*g) {
      // The loss does not depend on it: as in PyTorch, it is left as it is.
      v->frozen = true;
      graph.remarks.push_back(
          {"differentiate", "parameter " + called(*v) + " does not influence the loss: it is not trained"});
      continue;
    }
    out.push_back({v, *g});
  }
  return out;
}
}  // namespace optp
