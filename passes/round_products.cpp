// --compute bf16, or f16: products take operands of half precision and sum them up in float32. Casts say so, around a
// float32 product, so that any evaluator computes the same; all between products stays float32.
//   before   %y = contract(%x: f32[..], %w: f32[..])
//   after    %x.bf16 = cast(%x)   %x.wide = cast(%x.bf16): f32   %w.wide = cast(%w: bf16[..]): f32
//            %y = contract(%x.wide, %w.wide)
// A weight is stored as what it is rounded to; a table is looked up as it is stored. A training step keeps its
// parameters in float32 and rounds them in each step. Only products of what parameters make: angles that are counted
// positions times frequencies would lose their positions.
#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "passes/passes.h"

namespace optp {
namespace {
class Rounding {
 public:
  Rounding(Graph& graph, DType half) : graph_(graph), half_(half), build_(graph) { build_.set_fold(false); }

  llvm::Error run() {
    find_learned();
    llvm::SmallVector<Node*, 32> products;
    for (auto& node : graph_.nodes)
      if (is_rounded(*node)) products.push_back(node.get());
    if (!trains())
      for (Node* node : products)
        for (Value* v : llvm::SmallVector<Value*, 2>(node->operands.begin(), node->operands.end()))
          if (v->is_data() && v->is_parameter && v->type.dtype == DType::f32)
            if (auto e = store_rounded(*v)) return e;
    for (Node* node : products)
      for (unsigned k : {0u, 1u})
        if (auto e = round_operand(*node, k)) return e;
    return llvm::Error::success();
  }

 private:
  bool trains() const { return !graph_.updates.empty(); }
  // What parameters make, or are.
  void find_learned() {
    for (const Value* v : graph_.data())
      if (v->is_parameter) learned_.insert(v);
    for (const Update& u : graph_.updates)
      if (const Value* v = graph_.find(u.input)) learned_.insert(v);
    for (const auto& node : graph_.nodes)
      if (llvm::any_of(node->operands, [&](const Value* v) { return learned_.contains(v); }))
        for (const auto& r : node->results) learned_.insert(r.get());
  }
  // A sum that is still in parts is no number to round.
  bool is_rounded(const Node& node) const {
    if (!node.op->is(Trait::product) || node.out().type.dtype != DType::f32) return false;
    return llvm::any_of(node.operands, [&](const Value* v) { return learned_.contains(v); }) &&
           llvm::none_of(node.operands, [](const Value* v) { return v->sharding && v->sharding->is_partial(); });
  }
  llvm::Expected<Value*> cast(Value& v, DType to, llvm::StringRef suffix, Node* place, Phase phase) {
    build_.before(place);
    build_.phase(phase);
    auto made = build_.create("cast", {&v}, {{"to", int64_t(to)}}, v.name + "." + suffix.str());
    if (!made) return made;
    (*made)->sharding = v.sharding;
    if (v.sharding) (*made)->cause = {CauseKind::propagated, "its value in " + to_string(to).str(), v.name};
    return made;
  }
  Node* behind(const Value& v) const {
    if (!v.producer) return graph_.nodes.front().get();
    const auto next = std::next(v.producer->place);
    return next == graph_.nodes.end() ? nullptr : next->get();
  }

  llvm::Error store_rounded(Value& w) {
    w.data = rounded(w.data, half_);
    w.type.dtype = half_;
    const llvm::SmallVector<Use, 4> uses(w.uses.begin(), w.uses.end());
    for (const Use& use : uses) {
      Value* from = &w;
      if (use.node->op->is(Trait::looks_up) && use.operand == 0) {
        // Rows are widened, not the table.
        Value& rows = use.node->out();
        rows.type.dtype = half_;
        const llvm::SmallVector<Use, 4> of_rows(rows.uses.begin(), rows.uses.end());
        auto wide = cast(rows, DType::f32, "wide", behind(rows), use.node->phase);
        if (!wide) return wide.takeError();
        for (const Use& u : of_rows) graph_.set_operand(*u.node, u.operand, **wide);
        for (GraphOutput& o : graph_.outputs)
          if (o.value == &rows) o.value = *wide;
        continue;
      }
      auto wide = cast(*from, DType::f32, "wide", use.node, use.node->phase);
      if (!wide) return wide.takeError();
      graph_.set_operand(*use.node, use.operand, **wide);
    }
    for (GraphOutput& o : graph_.outputs)
      if (o.value == &w) {
        auto wide = cast(w, DType::f32, "wide", /*place=*/nullptr, Phase::forward);
        if (!wide) return wide.takeError();
        o.value = *wide;
      }
    return llvm::Error::success();
  }
  // One rounding of a value serves all its products; each widens it for itself, as its kernel does.
  llvm::Error round_operand(Node& node, unsigned k) {
    Value& x = node.operand(k);
    if (x.type.dtype != DType::f32 || is_half_inside(x)) return llvm::Error::success();
    auto narrow = rounded_as(x, node.phase);
    if (!narrow) return narrow.takeError();
    auto wide = cast(**narrow, DType::f32, "wide", &node, node.phase);
    if (!wide) return wide.takeError();
    graph_.set_operand(node, k, **wide);
    return llvm::Error::success();
  }
  // What is repeated, as keys for several queries each, is rounded before: a cache then holds it once and rounded.
  llvm::Expected<Value*> rounded_as(Value& x, Phase phase) {
    if (Value* known = narrow_.lookup(&x)) return known;
    if (is_half_inside(x)) return &x.producer->operand(0);
    const auto moves = moves_from_repeat(x);
    auto made = moves.empty() ? cast(x, half_, to_string(half_), behind(x), x.producer ? x.producer->phase : phase)
                              : rounded_as(moves.back()->operand(0), phase);
    for (const Node* move : llvm::reverse(moves)) {
      if (!made) return made;
      build_.before(behind(move->out()));
      build_.phase(move->phase);
      build_.at(move->name, move->origin, move->module);
      made = build_.create(move->op->name, {*made}, move->attributes, move->out().name + "." + to_string(half_).str());
      build_.at("", "");
    }
    if (made) narrow_[&x] = *made;
    return made;
  }
  // The moves that lead from the first repeat to x, the last one first; none where nothing is repeated.
  llvm::SmallVector<const Node*, 4> moves_from_repeat(const Value& x) const {
    llvm::SmallVector<const Node*, 4> out;
    size_t repeated = 0;
    for (const Node* n = x.producer; n && !trains() && n->op->is(Trait::reshapes | Trait::permutes | Trait::repeats);
         n = n->operand(0).producer) {
      out.push_back(n);
      if (n->op->is(Trait::repeats)) repeated = out.size();
    }
    out.truncate(repeated);
    return out;
  }
  // Widened from half precision: there is nothing to round.
  bool is_half_inside(const Value& x) const {
    return x.producer && x.producer->op->is(Trait::converts) && x.producer->operand(0).type.dtype == half_;
  }

  Graph& graph_;
  const DType half_;
  Builder build_;
  llvm::DenseSet<const Value*> learned_;
  llvm::DenseMap<const Value*, Value*> narrow_;
};
}  // namespace

llvm::Error round_products(Graph& graph, const PassOptions& options) {
  if (options.compute == DType::f32 || graph.nodes.empty()) return llvm::Error::success();
  return Rounding(graph, options.compute).run();
}
}  // namespace optp
