// Of each layer only its input is kept for the backward pass, which computes the rest again (Chen et al., "Training
// Deep Nets with Sublinear Memory Cost", 2016; full recomputation of Korthikanti et al., 2022).
//   before   %a = f(%x)  %y = g(%a)  …  %da = g'(%a, %dy)
//   after    %a = f(%x)  %y = g(%a)  …  %a.again = f(%x)  %da = g'(%a.again, %dy)
//
// A layer is found by what goes through it, not by names. Where, at some place of the forward pass, what is behind
// needs one activation alone of what is before, the graph can be cut: after each residual sum. From one attention to
// the next is a layer; what stands before the first and behind the last stays as it is.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "passes/training.h"

namespace optp {
namespace {
class Recompute {
 public:
  explicit Recompute(Graph& graph) : graph_(graph) {
    llvm::DenseSet<const Value*> of_inputs, of_parameters;
    for (const Value* v : graph_.inputs) of_inputs.insert(v);
    for (const Value* v : graph_.data())
      if (v->is_parameter) of_parameters.insert(v);
    auto follow = [](const Node& node, llvm::DenseSet<const Value*>& set) {
      if (!llvm::any_of(node.operands, [&](const Value* v) { return set.contains(v); })) return false;
      for (const auto& r : node.results) set.insert(r.get());
      return true;
    };
    for (const auto& node : graph_.nodes) {
      if (node->phase != Phase::forward) continue;
      at_[node.get()] = forward_.size();
      forward_.push_back(node.get());
      // What no weight takes part in, such as a mask, is no activation: every layer has it.
      if (follow(*node, of_inputs) & follow(*node, of_parameters))
        for (const auto& r : node->results) activations_.insert(r.get());
    }
  }

  llvm::Error run() {
    auto layers = layers_between(find_cuts(forward_.size()));
    // An encoder's output, which every layer of the decoder takes, is needed for long.
    if (layers.size() < 2) layers = layers_between(find_cuts(forward_.size() / 2));
    const auto count = llvm::count_if(layers, [&](const Layer& layer) { return recompute(layer); });
    if (count == 0)
      return error(Code::bad_value)
          .flag("--recompute", "")
          .what("the model has no layers that could be computed again")
          .expected("places in it that one activation alone goes through, with a product between them")
          .found("none before the logits");
    graph_.remarks.push_back({"recompute", "--recompute keeps of " + std::to_string(count) +
                                               (count == 1 ? " layer" : " layers") +
                                               " the input alone, and computes the rest again in the backward pass"});
    return llvm::Error::success();
  }

 private:
  struct Layer {
    size_t begin, end;  // of the forward nodes; the last one makes the next layer's input
  };

  // The nodes behind which one activation alone is still needed; one that is needed for longer than so many nodes does
  // not count.
  llvm::SmallVector<size_t> find_cuts(size_t longest) const {
    std::vector<int> change(forward_.size() + 1, 0);
    for (size_t k = 0; k < forward_.size(); ++k)
      for (const auto& r : forward_[k]->results) {
        if (!activations_.contains(r.get())) continue;
        size_t last = k;
        for (const Use& use : r->uses)
          if (const auto it = at_.find(use.node); it != at_.end()) last = std::max(last, it->second);
        if (last - k <= longest) ++change[k], --change[last];
      }
    llvm::SmallVector<size_t> cuts;
    int live = 0;
    for (size_t k = 0; k < forward_.size(); ++k)
      if (live += change[k]; live == 1 && activations_.contains(&forward_[k]->out())) cuts.push_back(k);
    return cuts;
  }
  bool has(Trait trait, size_t begin, size_t end) const {
    return llvm::any_of(llvm::ArrayRef(forward_).slice(begin, end - begin),
                        [&](const Node* node) { return node->op->is(trait); });
  }
  // What follows the last cut makes the logits. Without attention a layer begins at each product. A norm between two
  // layers is the second one's, and one behind the last is nobody's.
  llvm::SmallVector<Layer> layers_between(llvm::ArrayRef<size_t> cuts) const {
    llvm::SmallVector<Layer> out;
    if (cuts.empty()) return out;
    const Trait begins = has(Trait::shares_out, cuts.front() + 1, cuts.back() + 1) ? Trait::shares_out : Trait::product;
    Layer stretch{cuts.front() + 1, 0};
    for (const size_t cut : cuts.drop_front()) {
      stretch.end = cut + 1;
      if (!has(Trait::product, stretch.begin, stretch.end)) continue;
      if (has(begins, stretch.begin, stretch.end))
        out.push_back(stretch);
      else if (!out.empty())
        out.back().end = stretch.end;
      stretch.begin = stretch.end;
    }
    return out;
  }

  // False: nothing of it is needed later.
  bool recompute(const Layer& layer) {
    auto is_within = [&](const Node* node) {
      const auto it = at_.find(node);
      return it != at_.end() && it->second >= layer.begin && it->second < layer.end;
    };
    // There anyway: other layers have it, too.
    auto is_kept = [&](const Value& v) {
      return graph_.is_output(v) || llvm::any_of(v.uses, [&](const Use& use) {
               return use.node->phase == Phase::forward && !is_within(use.node);
             });
    };
    llvm::SmallVector<Use> later;
    llvm::DenseSet<const Node*> users, again;
    const auto nodes = llvm::ArrayRef(forward_).slice(layer.begin, layer.end - layer.begin);
    for (Node* node : nodes)
      for (const auto& r : node->results)
        if (!is_kept(*r))
          for (const Use& use : r->uses)
            if (use.node->phase != Phase::forward) later.push_back(use), users.insert(use.node), again.insert(node);
    auto first = std::next(nodes.back()->place);
    while (first != graph_.nodes.end() && !users.contains(first->get())) ++first;
    if (first == graph_.nodes.end()) return false;
    for (const Node* node : llvm::reverse(nodes))
      if (again.contains(node))
        for (const Value* v : node->operands)
          if (is_within(v->producer) && !is_kept(*v)) again.insert(v->producer);
    llvm::DenseMap<const Value*, Value*> copies;
    for (const Node* node : nodes)
      if (again.contains(node)) copy(*node, **first, copies);
    for (const Use& use : later)
      graph_.set_operand(*use.node, use.operand, *copies.lookup(use.node->operands[use.operand]));
    return true;
  }
  void copy(const Node& node, Node& place, llvm::DenseMap<const Value*, Value*>& copies) {
    llvm::SmallVector<Value*, 3> operands;
    for (Value* v : node.operands) operands.push_back(copies.contains(v) ? copies.lookup(v) : v);
    llvm::SmallVector<Type, 2> types;
    llvm::SmallVector<std::string, 2> names;
    for (const auto& r : node.results) types.push_back(r->type), names.push_back(r->name + ".again");
    Node& made = graph_.add_node(*node.op, operands, types, names, &place);
    static_cast<NodeFacts&>(made) = node;
    made.phase = Phase::backward;
    for (size_t k = 0; k < names.size(); ++k) {
      const std::string name = made.results[k]->name;
      static_cast<ValueFacts&>(*made.results[k]) = *node.results[k];
      made.results[k]->name = name;
      copies[node.results[k].get()] = made.results[k].get();
    }
  }

  Graph& graph_;
  std::vector<Node*> forward_;
  llvm::DenseMap<const Node*, size_t> at_;  // place among them
  llvm::DenseSet<const Value*> activations_;
};
}  // namespace

llvm::Error recompute(Graph& graph) { return Recompute(graph).run(); }
}  // namespace optp
