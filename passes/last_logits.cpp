// Of a decoder's run only the logits behind its last token are read. Its head is a product with the whole vocabulary,
// a third of a prompt's time in small models, so what is computed for outputs alone is computed for that token alone:
// the head, and of the last layer all that is no key or value.
//
//   before   %h = add(…) : [b, s, 768]   %logits = contract(%h, %w) "b s k, n k -> b s n"
//   after    %last = slice(%h) {axis = 1, start = s - 1, size = 1}   %logits = contract(%last, %w) : [b, 1, n]
#include <map>

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "passes/cached_decoder.h"

namespace optp {
namespace {
class Narrowing {
 public:
  Narrowing(Graph& graph, Dim sequence) : graph_(graph), sequence_(sequence) {}

  llvm::Error run() {
    find_narrow();
    // In order, so that operands are made before what uses them.
    for (const auto& node : graph_.nodes)
      if (narrow_.contains(node.get()))
        if (auto e = narrow(*node)) return e;
    for (GraphOutput& o : graph_.outputs)
      if (is_read(o)) {
        auto last = sliced(*o.value, /*before=*/nullptr);
        if (!last) return last.takeError();
        o.value = *last;
      }
    // A model's own slice of the last token has nothing left to cut.
    for (const auto& node : graph_.nodes)
      if (takes_last(*node) && node->operand(0).producer && narrow_.contains(node->operand(0).producer))
        graph_.replace_all_uses(node->out(), node->operand(0));
    return llvm::Error::success();
  }

 private:
  bool runs_over_tokens(Dim d) const { return llvm::is_contained(named_dims_of(d), sequence_); }
  bool runs_over_tokens(const Value& v) const {
    return llvm::any_of(v.type.dims, [&](Dim d) { return runs_over_tokens(d); });
  }
  bool has_tokens_apart(const Value& v) const { return llvm::count(v.type.dims, sequence_) == 1; }
  bool is_read(const GraphOutput& o) const {
    return has_tokens_apart(*o.value) &&
           llvm::none_of(graph_.states, [&](const State& s) { return s.output == o.name; });
  }

  bool takes_last(const Node& node) const {
    if (!node.op->is(Trait::cuts)) return false;
    const Dim tokens = node.operand(0).type.dims[size_t(node.integer("axis"))];
    return (tokens == sequence_ || tokens.is(1)) && node.dim("start") == sequence_ - Dim(1) && node.dim("size").is(1);
  }

  // The nodes whose results are needed for the last token alone.
  void find_narrow() {
    for (const auto& node : graph_.nodes)
      if (can_be_narrow(*node)) narrow_.insert(node.get());
    // Each one that falls out takes others with it: what it is made of, and what can't be made of a slice of it.
    for (bool changed = true; changed;) {
      changed = false;
      for (auto at = graph_.nodes.rbegin(); at != graph_.nodes.rend(); ++at)
        if (Node* node = at->get(); narrow_.contains(node) && !stays_narrow(*node)) {
          narrow_.erase(node);
          changed = true;
        }
    }
  }
  bool stays_narrow(const Node& node) const {
    for (const auto& v : node.results) {
      if (v->uses.empty() && !graph_.is_output(*v)) return false;
      for (const Use& use : v->uses)
        if (!narrow_.contains(use.node) && !(has_tokens_apart(*v) && takes_last(*use.node))) return false;
      for (const GraphOutput& o : graph_.outputs)
        if (o.value == v.get() && !is_read(o)) return false;
    }
    return llvm::all_of(node.operands, [&](const Value* x) {
      return !runs_over_tokens(*x) || has_tokens_apart(*x) || (x->producer && narrow_.contains(x->producer));
    });
  }
  // Each of its loops over tokens is one of its result's, and does for a token what it does for any other.
  bool can_be_narrow(const Node& node) const {
    if (node.results.size() != 1 || !runs_over_tokens(node.out()) || !node.op->rule) return false;
    for (const auto& [name, attribute] : node.attributes) {
      const auto* dim = std::get_if<Dim>(&attribute);
      const auto* dims = std::get_if<Dims>(&attribute);
      if (dim && runs_over_tokens(*dim)) return false;
      if (dims && *dims != node.out().type.dims && llvm::any_of(*dims, [&](Dim d) { return runs_over_tokens(d); }))
        return false;
    }
    if (node.op->is(Trait::reshapes)) return keeps_tokens_apart(node.operand(0).type.dims, node.out().type.dims);
    auto rule = node.op->rule(node);
    if (!rule) {
      llvm::consumeError(rule.takeError());
      return false;
    }
    for (size_t k = 0; k < rule->loops.size(); ++k) {
      const Loop& loop = rule->loops[k];
      if (!runs_over_tokens(loop.extent)) continue;
      const bool is_piece =
          llvm::any_of(rule->pieces, [&](const LoopPiece& p) { return p.whole == int(k) || p.piece == int(k); });
      if (loop.whole || loop.counted || is_piece || llvm::count(rule->results[0], int(k)) != 1) return false;
    }
    return true;
  }
  // A reshape's tokens: how many elements of its dims come before them, where they are the minor part of a dim.
  std::optional<Dim> before_tokens(const Dims& dims) const {
    Dim before = 1;
    for (Dim d : dims) {
      if (runs_over_tokens(d)) {
        const auto rest = exact_div(d, sequence_);
        if (!rest || runs_over_tokens(*rest)) return std::nullopt;
        return before * *rest;
      }
      before = before * d;
    }
    return std::nullopt;
  }
  bool keeps_tokens_apart(const Dims& from, const Dims& to) const {
    const auto once = [&](const Dims& dims) {
      return llvm::count_if(dims, [&](Dim d) { return runs_over_tokens(d); }) == 1;
    };
    const auto before = before_tokens(from), after = before_tokens(to);
    return once(from) && once(to) && before && after && *before == *after;
  }

  Dims of_one_token(llvm::ArrayRef<Dim> dims) const {
    Dims out;
    for (Dim d : dims)
      out.push_back(substitute(d, [&](llvm::StringRef name) -> std::optional<Dim> {
        if (name == *name_of(sequence_)) return Dim(1);
        return std::nullopt;
      }));
    return out;
  }
  llvm::Expected<Value*> sliced(Value& v, Node* before) {
    if (v.producer && narrow_.contains(v.producer)) return &v;
    Value*& last = slices_[&v];
    if (last) return last;
    const size_t axis = size_t(llvm::find(v.type.dims, sequence_) - v.type.dims.begin());
    Builder build(graph_);
    if (v.producer) build.at(v.producer->name, v.producer->origin, v.producer->module);
    build.before(before);
    auto made = build.create(
        "slice", {&v}, {{"axis", int64_t(axis)}, {"start", sequence_ - Dim(1)}, {"size", Dim(1)}, {"step", int64_t(1)}},
        v.name + ".last");
    if (!made) return made.takeError();
    return last = *made;
  }
  llvm::Error narrow(Node& node) {
    for (unsigned k = 0; k < node.operands.size(); ++k) {
      if (!runs_over_tokens(node.operand(k))) continue;
      auto last = sliced(node.operand(k), &node);
      if (!last) return last.takeError();
      graph_.set_operand(node, k, **last);
    }
    for (auto& [name, attribute] : node.attributes)
      if (auto* dims = std::get_if<Dims>(&attribute)) *dims = of_one_token(*dims);
    node.out().type.dims = of_one_token(node.out().type.dims);
    return llvm::Error::success();
  }

  Graph& graph_;
  const Dim sequence_;
  llvm::DenseSet<const Node*> narrow_;
  std::map<const Value*, Value*> slices_;
};
}  // namespace

llvm::Error keep_last_logits(Graph& decoder) {
  auto ids = ids_of(decoder);
  if (!ids) return ids.takeError();
  return Narrowing(decoder, (*ids)->type.dims[1]).run();
}
}  // namespace optp
