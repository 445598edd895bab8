// Small all-reduces over the same axes that do not wait for each other become one: their cost is latency. Each operand
// is flattened, joined to the others, reduced, and cut out again. Large ones stay: joining them would copy them.
//   before   %a.all_reduce = all_reduce(%a)   %b.all_reduce = all_reduce(%b)
//   after    %c = all_reduce(concat(reshape(%a), reshape(%b)))   …  = reshape(slice(%c))
#include "frontend/ir/builder.h"
#include "frontend/ir/collective.h"
#include "frontend/ir/diagnostic.h"
#include "passes/passes.h"

namespace optp {
namespace {
// A few numbers a token, whatever the named dims are; of what has numbers for dims (norms' gradients, a static model's
// tokens) so much that its bytes are sent in about the time that a meeting takes.
bool is_small(const Value& v) {
  constexpr int64_t most_a_token = 16, most = 32768;
  Dim count = 1;
  bool named = false;
  for (Dim d : v.type.dims) {
    if (d.constant() || has_rank_terms(d))
      count = count * d;
    else
      named = true;
  }
  return count.constant() && *count.constant() <= (named ? most_a_token : most);
}
bool alike(const Node& a, const Node& b) {
  const CollectiveCall x = call_of(a), y = call_of(b);
  return a.phase == b.phase && x.reduce == y.reduce && x.axes == y.axes && x.dtype == y.dtype;
}

// What waits for the first, up to the second and with it, in order: the nodes are in topological order, so one look at
// those between the two is enough, where a search from the first would go through all that is behind it.
llvm::SmallVector<Node*> waiting_for(const Node& first, const Node& second) {
  llvm::SmallVector<Node*> out;
  llvm::DenseSet<const Node*> waits{&first};
  for (auto it = std::next(first.place), end = std::next(second.place); it != end; ++it) {
    Node& node = **it;
    if (llvm::none_of(node.operands, [&](const Value* v) { return v->producer && waits.contains(v->producer); }))
      continue;
    waits.insert(&node);
    out.push_back(&node);
  }
  return out;
}
bool waits_for(const Node& second, const Node& first) {
  return llvm::is_contained(waiting_for(first, second), &second);
}

// Gives the one that the two become: the second does not wait for the first, and what does moves behind it.
llvm::Expected<Node*> combine(Graph& graph, Node& first, Node& second) {
  const auto waiting = waiting_for(first, second);
  Builder build(graph);
  build.set_fold(false);
  build.before(&second);
  build.at(first.name, first.origin);
  build.phase(first.phase);
  llvm::SmallVector<Value*, 2> flat;
  llvm::SmallVector<Dim, 2> sizes;
  for (Node* node : {&first, &second}) {
    Value& in = node->operand(0);
    sizes.push_back(product(in.type.dims));
    auto r = build.create("reshape", {&in}, {{"dims", Dims{sizes.back()}}}, in.name + ".flat");
    if (!r) return r.takeError();
    flat.push_back(*r);
  }
  auto joined = build.create("concat", flat, {{"axis", int64_t(0)}}, first.operand(0).name + ".joined");
  if (!joined) return joined.takeError();
  Attributes attributes = first.attributes;
  attributes["reason"] = (first.text("reason") + "; " + second.text("reason")).str();
  if (first.text("reason") == second.text("reason")) attributes["reason"] = first.text("reason").str();
  auto sum = build.create("all_reduce", {*joined}, std::move(attributes), (*joined)->name + ".all_reduce");
  if (!sum) return sum.takeError();
  (*sum)->producer->attributes["id"] = (*sum)->name;
  (*sum)->cause = first.out().cause;
  Dim start = 0;
  size_t k = 0;
  for (Node* node : {&first, &second}) {
    auto part = build.create("slice", {*sum},
                             {{"axis", int64_t(0)}, {"start", start}, {"size", sizes[k]}, {"step", int64_t(1)}},
                             node->out().name + ".part");
    if (!part) return part.takeError();
    start = start + sizes[k++];
    auto back = build.create("reshape", {*part}, {{"dims", node->out().type.dims}}, node->out().name + ".apart");
    if (!back) return back.takeError();
    (*back)->sharding = node->out().sharding;
    (*back)->logical_dims = node->out().logical_dims;
    (*back)->cause = node->out().cause;
    graph.replace_all_uses(node->out(), **back);
  }
  auto place = std::next(second.place);
  for (Node* node : waiting) graph.nodes.splice(place, graph.nodes, node->place);
  graph.erase(first);
  graph.erase(second);
  return (*sum)->producer;
}

}  // namespace

llvm::Error combine_all_reduces(Graph& spmd, const PassOptions& options) {
  std::vector<Node*> small;  // in order
  for (auto& node : spmd.nodes)
    if (node->op->collective == Collective::all_reduce && is_small(node->operand(0))) small.push_back(node.get());
  for (size_t k = 0; k + 1 < small.size();) {
    if (!alike(*small[k], *small[k + 1]) || waits_for(*small[k + 1], *small[k])) {
      ++k;
      continue;
    }
    if (!options.may_rewrite()) break;
    auto joined = combine(spmd, *small[k], *small[k + 1]);
    if (!joined) return joined.takeError();
    // The joined one may take a third; grown large, it stands between its neighbours no more.
    const auto at = small.begin() + ptrdiff_t(k);
    small.erase(at + 1);
    if (is_small((*joined)->operand(0))) {
      small[k] = *joined;
    } else {
      small.erase(at);
      if (k > 0) --k;
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
