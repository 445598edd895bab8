// Partial sums that a chain of adds brings together are added up before anything whole is, so that they are reduced
// once. Models that run attention and MLP side by side (GPT-J, GPT-NeoX, Phi) have such chains in each layer:
//   before   %m = add(%mlp, %bias)   %h = add(%attention, %m)        both products partial, each reduced by itself
//   after    %p = add(%attention, %mlp)   %h = add(%p, %bias)        reduced at %p
#include "frontend/ir/builder.h"
#include "passes/annotation.h"
#include "passes/partials.h"
#include "passes/sharding_rules.h"

namespace optp {
namespace {
class Joiner {
 public:
  Joiner(Graph& graph, const Annotation& annotation, const PassOptions& options)
      : graph_(graph), factors_(annotation.factors), pinned_(annotation.pinned), options_(options) {}

  llvm::Expected<bool> run() {
    bool changed = false;
    std::vector<Node*> nodes;
    for (auto& node : graph_.nodes) nodes.push_back(node.get());
    // From the end: a chain is met at its last add first, and taken apart with all that it adds.
    for (Node* node : llvm::reverse(nodes)) {
      if (gone_.contains(node) || !node->op->is(Trait::adds) || made_as(node->out()).is_partial()) continue;
      auto joined = join(*node);
      if (!joined) return joined.takeError();
      changed |= *joined;
    }
    return changed;
  }

 private:
  // How its op makes a value, whether or not it is reduced right there.
  PartialState made_as(const Value& v) const {
    if (!v.producer || v.producer->results.size() != 1) return {};
    const Node& node = *v.producer;
    llvm::SmallVector<PartialState, 3> operands;
    for (const Value* o : node.operands) operands.push_back({o->sharding->reduce, o->sharding->partial});
    llvm::SmallVector<bool, 3> accepts;
    return partial_result(node, factors_.rule(node), factors_, node_axes(node, factors_), operands, accepts);
  }
  // What the chain that ends in `root` adds, left to right. An add is taken apart where nothing else needs its result.
  void collect(Value& root, llvm::SmallVectorImpl<Value*>& addends, llvm::SmallVectorImpl<Node*>& adds) {
    llvm::SmallVector<Value*> open{&root};
    while (!open.empty()) {
      Value& value = *open.pop_back_val();
      Node* add = value.producer;
      const bool used_within =
          &value == &root || (value.uses.size() == 1 && !graph_.is_output(value) && !pinned_.contains(&value));
      if (!add || !add->op->is(Trait::adds) || value.type != root.type || !used_within || made_as(value).is_partial()) {
        addends.push_back(&value);
        continue;
      }
      adds.push_back(add);
      open.append({&add->operand(1), &add->operand(0)});
    }
  }
  llvm::Expected<bool> join(Node& last) {
    Value& root = last.out();
    llvm::SmallVector<Value*> addends, partial, rest;
    llvm::SmallVector<Node*> adds;
    collect(root, addends, adds);
    PartialState state;
    for (Value* v : addends) {
      const PartialState made = made_as(*v);
      const bool joins = made.is_partial() && made.reduce == Reduce::sum && v->type == root.type &&
                         v->uses.size() == 1 && !graph_.is_output(*v) && !pinned_.contains(v) &&
                         (partial.empty() || (made == state && same_placement(*v->sharding, *partial[0]->sharding)));
      if (joins) state = made;
      (joins ? partial : rest).push_back(v);
    }
    if (partial.size() < 2 || !options_.may_rewrite()) return false;
    Builder build(graph_);
    build.set_fold(false);
    build.before(&last);
    build.at(last.name, last.origin);
    build.phase(last.phase);
    Value* total = partial[0];
    const auto append = [&](Value* v, const char* suffix) -> llvm::Error {
      auto sum = build.create("add", {total, v}, {}, root.name + suffix);
      if (!sum) return sum.takeError();
      total = *sum;
      return llvm::Error::success();
    };
    for (Value* v : llvm::drop_begin(partial))
      if (auto e = append(v, ".parts")) return e;
    for (Value* v : rest)
      if (auto e = append(v, ".sum")) return e;
    const std::string name = root.name;
    graph_.replace_all_uses(root, *total);
    for (Node* add : adds) {  // each after the one that uses it
      gone_.insert(add);
      graph_.erase(*add);
    }
    graph_.rename(*total, name);
    return true;
  }

  Graph& graph_;
  const Factors& factors_;
  const llvm::DenseSet<const Value*>& pinned_;
  const PassOptions& options_;
  llvm::DenseSet<const Node*> gone_;
};
}  // namespace

llvm::Expected<bool> join_partials(Graph& graph, const Annotation& annotation, const PassOptions& options) {
  return Joiner(graph, annotation, options).run();
}
}  // namespace optp
