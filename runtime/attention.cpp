// What exporters and passes leave of attention, from the scores of queries and keys to the sum of values:
//   %s = contract(%q, %k) {loops = "b s h d, b t h d -> b h s t"}
//   … elementwise: a scale, a soft cap, a mask that is added or chosen; reshapes that join or part batches and heads
//   %p = softmax(%m) {axis = 3}
//   … elementwise: NaN to 0, roundings
//   %y = contract(%p, %v) {loops = "b h s t, b t h d -> b s h d"}
// A mask is elementwise too: as far as it has a value for each query and key, it is computed by blocks with the scores.
#include "runtime/attention.h"

#include "frontend/ir/op.h"
#include "runtime/attention_parts.h"

namespace optp {
namespace {
using Order = llvm::DenseMap<const Node*, size_t>;

class Recogniser {
 public:
  Recogniser(const Graph& graph, RowsOfNodes& rows, int64_t whole_bytes, const llvm::DenseSet<const Value*>& standing,
             const Order& order)
      : graph_(graph), rows_(rows), whole_bytes_(whole_bytes), standing_(standing), order_(order) {}
  // The attention of a softmax, and behind it its gradient where training has added one; else nothing.
  std::vector<FusedStep> recognise(const Node& softmax);

 private:
  const Graph& graph_;
  RowsOfNodes& rows_;
  int64_t whole_bytes_;
  const llvm::DenseSet<const Value*>& standing_;
  const Order& order_;

  ProgramRequest request(const Value& start, const Node& softmax) const;
  void find_scores(const Value& v, const Node& softmax, llvm::SmallVectorImpl<const Node*>& out,
                   llvm::DenseSet<const Value*>& seen);
  bool find_values(AttentionParts& parts);
  std::optional<FusedStep> step_of(AttentionParts& parts);
};

ProgramRequest Recogniser::request(const Value& start, const Node& softmax) const {
  return {.rows = &rows_,
          .starts = {&start},
          .queries = extent_from_last(softmax.out(), 1),
          .keys = extent_from_last(softmax.out(), 0),
          .whole_bytes = whole_bytes_,
          .standing = &standing_};
}

// Products of queries and keys that the value is made of elementwise, the first operands' first.
void Recogniser::find_scores(const Value& v, const Node& softmax, llvm::SmallVectorImpl<const Node*>& out,
                             llvm::DenseSet<const Value*>& seen) {
  if (!v.producer || !seen.insert(&v).second) return;
  const Node& node = *v.producer;
  for (size_t back : {0, 1})
    if (extent_from_last(v, back) != extent_from_last(softmax.out(), back)) return;
  if (node.op->is(Trait::product)) return out.push_back(&node);
  if (!passes_rows(node) && !rows_.of(node)) return;
  for (const Value* o : node.operands) find_scores(*o, softmax, out, seen);
}

// The one product of the forward pass that the softmax's result ends in. What training adds comes behind it.
bool Recogniser::find_values(AttentionParts& parts) {
  llvm::SmallVector<const Value*, 4> open{&parts.softmax.out()};
  const Value* end = nullptr;
  for (size_t k = 0; k < open.size(); ++k)
    for (const Use& use : open[k]->uses) {
      if (use.node->op->is(Trait::product)) {
        if (parts.values && order_.lookup(parts.values) < order_.lookup(use.node)) continue;
        end = open[k], parts.values = use.node;
      } else if (passes_rows(*use.node) || rows_.of(*use.node)) {
        if (!llvm::is_contained(open, &use.node->out())) open.push_back(&use.node->out());
      }
    }
  return end && parts.values->operands[0] != parts.values->operands[1] && parts.after.build(*end);
}

// What is made of the scores and read beside the probabilities would have to stand.
bool reads_what_it_keeps(const AttentionParts& parts, llvm::ArrayRef<FusedStep> steps) {
  auto kept = parts.nodes();
  for (const FusedStep& s : steps.drop_front()) kept.insert(s.nodes.begin(), s.nodes.end());
  return llvm::any_of(steps, [&](const FusedStep& s) {
    return llvm::any_of(s.operands, [&](const Value* v) { return v->producer && kept.contains(v->producer); });
  });
}

std::vector<FusedStep> Recogniser::recognise(const Node& softmax) {
  const Value& p = softmax.out();
  if (p.type.dtype != DType::f32 || p.ndim() < 2 || spec_of(p).elements() == 0 ||
      softmax.integer("axis") != int64_t(p.ndim()) - 1)
    return {};
  llvm::SmallVector<const Node*, 2> products;
  llvm::DenseSet<const Value*> seen;
  find_scores(softmax.operand(0), softmax, products, seen);
  for (const Node* scores : products) {
    AttentionParts parts{.softmax = softmax,
                         .scores = scores,
                         .before = ProgramBuilder(request(scores->out(), softmax)),
                         .after = ProgramBuilder(request(p, softmax))};
    if (scores->out().type.dtype != DType::f32 || !parts.before.build(softmax.operand(0)) || !find_values(parts))
      continue;
    std::vector<FusedStep> out;
    if (!is_inside(graph_, parts.nodes(), {parts.values})) {
      auto gradient = GradientRecogniser(parts, request(p, softmax)).recognise(graph_, order_);
      if (!gradient) continue;
      out.push_back(std::move(gradient->step));
    }
    auto step = step_of(parts);
    if (!step) continue;
    out.insert(out.begin(), std::move(*step));
    if (reads_what_it_keeps(parts, out)) continue;
    return out;
  }
  return {};
}

std::optional<FusedStep> Recogniser::step_of(AttentionParts& parts) {
  const auto s = loops_of_scores(*parts.scores);
  if (!s) return std::nullopt;
  const size_t probabilities = parts.after.reaches(parts.values->operand(0)) ? 0 : 1;
  const auto w = loops_of_values(*parts.values, probabilities);
  if (!w || parts.values->out().type.dtype != DType::f32) return std::nullopt;
  auto a = std::make_shared<Attention>();
  a->queries = extent_from_last(parts.softmax.out(), 1), a->keys = extent_from_last(parts.softmax.out(), 0);
  a->depth = extent_of(*parts.scores, s->summed), a->width = extent_of(*parts.values, w->column);
  Assembly all(spec_of(parts.softmax.out()).elements() / (a->queries * a->keys));
  if (!all.join(parts.before) || !all.join(parts.after) ||
      !all.add(*parts.scores, s->rows_operand, *s, s->row, s->summed, a->q) ||
      !all.add(*parts.scores, 1 - s->rows_operand, *s, s->column, s->summed, a->k) ||
      !all.add(*parts.values, 1 - probabilities, *w, w->summed, w->column, a->v) ||
      !all.add_result(*parts.values, *w, w->row, w->column, a->y))
    return std::nullopt;
  all.place();
  a->batch = all.batch();
  all.add_program(parts.before, a->before);
  all.add_program(parts.after, a->after);
  all.step.anchor = &parts.softmax, all.step.last = parts.values;
  for (const Node* n : {parts.scores, &parts.softmax, parts.values}) all.step.nodes.push_back(n);
  all.step.attention = std::move(a);
  return std::move(all.step);
}

// A sum or a softmax of nothing is left to kernels that know what it is.
bool has_elements(const FusedStep& step) {
  return spec_of(step.anchor->out()).elements() > 0 && spec_of(step.last->out()).elements() > 0 &&
         llvm::all_of(step.operands, [](const Value* v) { return spec_of(*v).elements() > 0; });
}

// What only attentions use, and they don't: from the last node to the first, so that users are known.
llvm::DenseSet<const Node*> unneeded(const Graph& graph, llvm::ArrayRef<FusedStep> steps) {
  llvm::DenseSet<const Node*> gone, absorbed;
  llvm::DenseSet<const Value*> read;
  for (const FusedStep& s : steps) {
    gone.insert(s.nodes.begin(), s.nodes.end());
    absorbed.insert(s.absorbed.begin(), s.absorbed.end());
    read.insert(s.operands.begin(), s.operands.end());
  }
  for (const auto& node : llvm::reverse(graph.nodes)) {
    if (!absorbed.contains(node.get()) || read.contains(&node->out()) || graph.is_output(node->out())) continue;
    if (llvm::all_of(node->out().uses, [&](const Use& use) { return gone.contains(use.node); }))
      gone.insert(node.get());
  }
  return gone;
}
llvm::SmallVector<const RowProgram*, 4> programs_of(const FusedStep& s) {
  if (s.attention) return {&s.attention->before, &s.attention->after};
  const AttentionGradient& g = *s.attention_gradient;
  return {&g.forward.before, &g.forward.after, &g.undo_after, &g.undo_before};
}
// Nodes of masks that a step computes though they are computed for others, too.
bool add_standing(llvm::ArrayRef<FusedStep> steps, const llvm::DenseSet<const Node*>& gone,
                  llvm::DenseSet<const Value*>& standing) {
  bool any = false;
  for (const FusedStep& s : steps)
    for (const RowProgram* p : programs_of(s))
      for (const RowProgram::Step& row : p->steps)
        if (!gone.contains(row.node)) any |= standing.insert(&row.node->out()).second;
  return any;
}
}  // namespace

FoundAttentions find_attentions(const Graph& graph, const KernelContext& context, int64_t whole_bytes) {
  RowsOfNodes rows(context);
  Order order;
  for (const auto& node : graph.nodes) order.try_emplace(node.get(), order.size());
  llvm::DenseSet<const Value*> standing;
  FoundAttentions found;
  do {
    found.steps.clear();
    Recogniser recogniser(graph, rows, whole_bytes, standing, order);
    for (const auto& node : graph.nodes)
      if (node->op->is(Trait::shares_out))
        if (auto steps = recogniser.recognise(*node); llvm::all_of(steps, has_elements))
          for (FusedStep& step : steps) found.steps.push_back(std::move(step));
    found.taken = unneeded(graph, found.steps);
  } while (add_standing(found.steps, found.taken, standing));
  for (FusedStep& s : found.steps)
    for (auto* nodes : {&s.nodes, &s.absorbed})
      llvm::sort(*nodes, [&](const Node* a, const Node* b) { return order.lookup(a) < order.lookup(b); });
  return found;
}
}  // namespace optp
