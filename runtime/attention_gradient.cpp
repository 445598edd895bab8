// What training adds to an attention (runtime/attention.cpp), with %p the softmax's result, %c what the values' product
// takes of it and %dy the gradient of that product:
//   %dv = contract(%dy, %c) {loops = "b s h d, b h s t -> b t h d"}
//   %o = contract(%dy, %v) {loops = "b s h d, b t h d -> b h s t"}
//   … elementwise, back through what follows the softmax, which gives %g
//   %ds = mul(%p, sub(%g, reduce_sum(mul(%g, %p)))), the sum over the last axis
//   … elementwise, back through what stands before the softmax, which gives %e
//   %dq = contract(%e, %k) {loops = "b h s t, b t h d -> b s h d"}
//   %dk = contract(%e, %q) {loops = "b h s t, b s h d -> b t h d"}
// All of it is one step with three results, in the place of the first product behind all that it reads.
#include "frontend/ir/op.h"
#include "runtime/attention_parts.h"

namespace optp {
namespace {
bool is_row_sum(const Node& node) {
  const auto axes = node.integers("axes");
  return fusion_of(node) == Fusion::is_sum && node.integer("keepdims", 1) == 1 && axes.size() == 1 &&
         axes[0] == int64_t(node.operand(0).ndim()) - 1;
}
// The same widenings of one rounded value: each product has its own.
llvm::SmallVector<const Value*, 2> alike(const Value& v) {
  if (!v.producer || !v.producer->op->is(Trait::converts)) return {&v};
  llvm::SmallVector<const Value*, 2> out;
  for (const Use& use : v.producer->operand(0).uses)
    if (use.node->op->is(Trait::converts) && use.node->out().type == v.type) out.push_back(&use.node->out());
  return out;
}
// The operand of a product that is `v` or alike; none where both are.
std::optional<size_t> index_of(const Node& product, const Value& v) {
  const auto same = alike(v);
  const bool a = llvm::is_contained(same, product.operands[0]), b = llvm::is_contained(same, product.operands[1]);
  return a == b ? std::nullopt : std::optional<size_t>(a ? 0 : 1);
}
// Batch indices over which the sum is made are those of its operands' too, or of none.
bool sums_alike(const AttentionGradient& g) {
  for (size_t d = 0; d < g.forward.batch.size(); ++d) {
    if (g.dq.columns > 0 && g.dq.result.batch[d] == 0) return false;
    const bool in_keys = g.dk.columns == 0 || g.dk.result.batch[d] != 0;
    const bool in_values = g.dv.columns == 0 || g.dv.result.batch[d] != 0;
    if (g.dk.columns > 0 && g.dv.columns > 0 && in_keys != in_values) return false;
    if (in_keys && in_values) continue;
    if (g.forward.k.batch[d] != 0 || g.forward.v.batch[d] != 0) return false;
    if (g.dq.columns > 0 && g.dq.operand.batch[d] != 0) return false;
  }
  return true;
}
// The first of a step's products behind all that it reads, which groups of elementwise nodes don't reach across; null:
// what it makes is needed before.
const Node* place_of(const FusedStep& step, const llvm::DenseMap<const Node*, size_t>& order) {
  const auto is_earlier = [&](const Node* a, const Node* b) { return order.lookup(a) < order.lookup(b); };
  const Node* place = nullptr;
  for (const Node* n : step.nodes) {
    const bool is_ready =
        llvm::all_of(step.operands, [&](const Value* v) { return !v->producer || is_earlier(v->producer, n); });
    if (n->op->is(Trait::product) && is_ready && (!place || is_earlier(n, place))) place = n;
  }
  for (const Value* v : step.results)
    for (const Use& use : v->uses)
      if (place && is_earlier(use.node, place)) return nullptr;
  return place;
}
}  // namespace

ProgramBuilder GradientRecogniser::builder(const Value& first, const Value& second) const {
  ProgramRequest request = request_;
  request.starts = {&first, &second};
  return ProgramBuilder(request);
}

bool GradientRecogniser::find_softmax_gradient() {
  const Value& p = parts_.softmax.out();
  for (const Use& use : p.uses) {
    const Node& last = *use.node;
    if (fusion_of(last) != Fusion::is_multiply || spec_of(last.out()).dims != spec_of(p).dims) continue;
    const Node* difference = last.operand(1 - use.operand).producer;
    if (!difference || fusion_of(*difference) != Fusion::is_subtract) continue;
    const Value& g = difference->operand(0);
    const Node* sum = difference->operand(1).producer;
    if (!sum || !is_row_sum(*sum)) continue;
    const Node* product = sum->operand(0).producer;
    if (!product || fusion_of(*product) != Fusion::is_multiply || spec_of(g).dims != spec_of(p).dims) continue;
    const Value &a = product->operand(0), &b = product->operand(1);
    if ((&a != &g || &b != &p) && (&a != &p || &b != &g)) continue;
    outer_ = &g, softmax_gradient_ = &last;
    for (const Node* n : {&last, difference, sum, product}) nodes_.insert(n);
    return true;
  }
  return false;
}

bool GradientRecogniser::find_outer_product(ProgramBuilder& undo) {
  llvm::SmallVector<const Value*, 4> open{outer_};
  for (size_t k = 0; k < open.size(); ++k) {
    const Node* node = open[k]->producer;
    if (!node || parts_.nodes().contains(node)) continue;
    if (node->op->is(Trait::product)) {
      undo = builder(node->out(), parts_.softmax.out());
      if (node->out().type.dtype != DType::f32 || !undo.build(*outer_)) continue;
      outer_product_ = node;
      nodes_.insert(node);
      nodes_.insert(undo.nodes.begin(), undo.nodes.end());
      return true;
    }
    if (!passes_rows(*node) && !request_.rows->of(*node)) continue;
    for (const Value* o : node->operands)
      if (!llvm::is_contained(open, o)) open.push_back(o);
  }
  return false;
}

bool GradientRecogniser::find_sums(ProgramBuilder& undo) {
  llvm::SmallVector<const Value*, 4> open{&softmax_gradient_->out()};
  for (size_t k = 0; k < open.size(); ++k)
    for (const Use& use : open[k]->uses) {
      if (!use.node->op->is(Trait::product)) {
        if (!passes_rows(*use.node) && !request_.rows->of(*use.node)) return false;
        if (!llvm::is_contained(open, &use.node->out())) open.push_back(&use.node->out());
        continue;
      }
      if (!scores_gradient_) scores_gradient_ = open[k];
      const auto at = index_of(*use.node, *scores_gradient_);
      if (!at) return false;
      const Node*& sum = loops_of_values(*use.node, *at) ? dq_ : dk_;
      if (sum || (&sum == &dk_ && !loops_of_query_sum(*use.node, *at))) return false;
      sum = use.node;
    }
  undo = builder(softmax_gradient_->out(), parts_.scores->out());
  if (!scores_gradient_ || !undo.build(*scores_gradient_)) return false;
  nodes_.insert(undo.nodes.begin(), undo.nodes.end());
  for (const Value* v : open) nodes_.insert(v->producer);
  return true;
}

bool GradientRecogniser::find_value_sum() {
  for (const Value* o : parts_.values->operands)
    if (o->producer && parts_.nodes().contains(o->producer)) taken_ = o;
  if (!taken_) return false;
  for (const Value* v : alike(*taken_)) {
    nodes_.insert(v->producer);
    for (const Use& use : v->uses) {
      if (use.node == parts_.values || !use.node->op->is(Trait::product)) continue;
      const auto at = index_of(*use.node, *taken_);
      if (dv_ || !at || !loops_of_query_sum(*use.node, *at)) return false;
      dv_ = use.node;
    }
  }
  return true;
}

std::optional<FoundGradient> GradientRecogniser::assemble(const ProgramBuilder& undo_after,
                                                          const ProgramBuilder& undo_before,
                                                          const llvm::DenseMap<const Node*, size_t>& order) const {
  const auto s = loops_of_scores(*parts_.scores), o = loops_of_scores(*outer_product_);
  if (!s || !o) return std::nullopt;
  auto g = std::make_shared<AttentionGradient>();
  Attention& a = g->forward;
  a.queries = request_.queries, a.keys = request_.keys;
  a.depth = extent_of(*parts_.scores, s->summed), a.width = extent_of(*outer_product_, o->summed);
  Assembly all(spec_of(parts_.softmax.out()).elements() / (a.queries * a.keys));
  for (const ProgramBuilder* p : {&parts_.before, &parts_.after, &undo_after, &undo_before})
    if (!all.join(*p)) return std::nullopt;
  if (!all.add(*parts_.scores, s->rows_operand, *s, s->row, s->summed, a.q) ||
      !all.add(*parts_.scores, 1 - s->rows_operand, *s, s->column, s->summed, a.k) ||
      !all.add(*outer_product_, o->rows_operand, *o, o->row, o->summed, g->dy) ||
      !all.add(*outer_product_, 1 - o->rows_operand, *o, o->column, o->summed, a.v))
    return std::nullopt;
  for (auto [node, sum] : {std::pair(dq_, &g->dq), std::pair(dk_, &g->dk), std::pair(dv_, &g->dv)}) {
    if (!node) continue;
    const bool by_query = node == dq_;
    const size_t at = *index_of(*node, node == dv_ ? *taken_ : *scores_gradient_);
    const auto w = by_query ? loops_of_values(*node, at) : loops_of_query_sum(*node, at);
    if (node->out().type.dtype != DType::f32 || !all.add(*node, 1 - at, *w, w->summed, w->column, sum->operand) ||
        !all.add_result(*node, *w, w->row, w->column, sum->result))
      return std::nullopt;
    sum->columns = extent_of(*node, w->column);
    sum->result.operand = unsigned(all.step.results.size());
    all.step.results.push_back(&node->out());
  }
  all.place();
  a.batch = all.batch();
  for (auto [from, to] : {std::pair(&parts_.before, &a.before), std::pair(&parts_.after, &a.after),
                          std::pair(&undo_after, &g->undo_after), std::pair(&undo_before, &g->undo_before)})
    all.add_program(*from, *to);
  if (!sums_alike(*g)) return std::nullopt;
  FoundGradient out;
  all.step.nodes.clear();  // those of the forward step are its own
  const auto forward = parts_.nodes();
  for (const Node* n : nodes_)
    if (!forward.contains(n)) all.step.nodes.push_back(n);
  for (const Node* n : {dq_, dk_, dv_})
    if (n) all.step.nodes.push_back(n), out.users.insert(n);
  all.step.anchor = softmax_gradient_, all.step.last = place_of(all.step, order);
  if (!all.step.last) return std::nullopt;
  all.step.attention_gradient = std::move(g);
  out.step = std::move(all.step);
  return out;
}

std::optional<FoundGradient> GradientRecogniser::recognise(const Graph& graph,
                                                           const llvm::DenseMap<const Node*, size_t>& order) {
  const Value& p = parts_.softmax.out();
  ProgramBuilder undo_after = builder(p, p), undo_before = builder(p, p);
  if (!find_softmax_gradient() || !find_outer_product(undo_after) || !find_sums(undo_before) || !find_value_sum())
    return std::nullopt;
  auto out = assemble(undo_after, undo_before, order);
  if (!out) return std::nullopt;
  llvm::DenseSet<const Node*> kept = parts_.nodes(), users = out->users;
  kept.insert(nodes_.begin(), nodes_.end());
  users.insert(parts_.values);
  if (!is_inside(graph, kept, users)) return std::nullopt;
  return out;
}
}  // namespace optp
