#include "tools/check/mutants.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "frontend/ir/op.h"
#include "tools/check/mutant_parts.h"

namespace optp {
Node* nth(Graph& graph, int64_t n, llvm::function_ref<bool(const Node&)> wanted) {
  for (auto& node : graph.nodes)
    if (wanted(*node) && n-- == 0) return node.get();
  return nullptr;
}
void scale(Graph& graph, Node& after, double factor) {
  Array a;
  a.resize(/*floating=*/true, {});
  a.f[0] = factor;
  Value& number = graph.add_data("mutant.factor", to_tensor(a, after.out().type.dtype));
  auto next = std::next(after.place);
  Node& mul = graph.add_node(get_op("mul"), {&after.out(), &number}, {after.out().type}, {"mutant"},
                             next == graph.nodes.end() ? nullptr : next->get());
  mul.phase = after.phase;
  mul.out().sharding = after.out().sharding;
  mul.out().logical_dims = after.out().logical_dims;
  mul.out().cause = {CauseKind::propagated, "mutant", after.out().name};
  graph.replace_all_uses(after.out(), mul.out());
  graph.set_operand(mul, 0, after.out());
}

bool leave_out(Graph& graph, Node* node) {
  if (!node) return false;
  graph.replace_all_uses(node->out(), node->operand(0));
  graph.erase(*node);
  return true;
}

namespace {
using Request = MutantRequest;

bool is_sum(const Node& node) {
  return node.op->collective == Collective::all_reduce && call_of(node).reduce == Reduce::sum;
}

// y = all_reduce(p) + rest becomes all_reduce(p + rest): the rest counts once a rank.
bool add_before_sum(Graph& graph, llvm::function_ref<bool(const Node& sum, const Value& rest)> wanted) {
  for (auto& node : graph.nodes) {
    if (node->op->collective != Collective::all_reduce || node->out().uses.size() != 1) continue;
    Node& add = *node->out().uses[0].node;
    if (!add.op->is(Trait::adds)) continue;
    Value& rest = add.operand(1 - node->out().uses[0].operand);
    if (!wanted(*node, rest)) continue;
    // The rest may be made after the sum: then so is the sum. What uses it, the add, comes later still.
    const bool later =
        rest.producer && std::any_of(node->place, add.place, [&](const auto& n) { return n.get() == rest.producer; });
    if (later) graph.nodes.splice(add.place, graph.nodes, node->place);
    Node& early = graph.add_node(*add.op, {&node->operand(0), &rest}, {node->operand(0).type}, {"mutant"}, node.get());
    graph.set_operand(*node, 0, early.out());
    graph.replace_all_uses(add.out(), node->out());
    return true;
  }
  return false;
}
llvm::Expected<bool> drop_all_reduce(const Request& r) {
  return leave_out(r.graph,
                   nth(r.graph, r.n, [](const Node& node) { return node.op->collective == Collective::all_reduce; }));
}

llvm::Expected<bool> drop_backward_all_reduce(const Request& r) {
  return leave_out(r.graph,
                   nth(r.graph, r.n, [](const Node& node) { return is_sum(node) && node.phase == Phase::backward; }));
}

// Summed twice, every addend counts as often as there are devices; a mean counts it once in as many.
bool scale_sum(const Request& r, double (*factor)(double devices)) {
  Node* sum = nth(r.graph, r.n, is_sum);
  if (!sum) return false;
  scale(r.graph, *sum, factor(double(sum->integers("group").size())));
  return true;
}

llvm::Expected<bool> double_all_reduce(const Request& r) {
  return scale_sum(r, [](double devices) { return devices; });
}
llvm::Expected<bool> mean_for_sum(const Request& r) {
  return scale_sum(r, [](double devices) { return 1 / devices; });
}

llvm::Expected<bool> misplaced_all_reduce(const Request& r) {
  return add_before_sum(
      r.graph, [](const Node& sum, const Value& rest) { return sum.phase == Phase::forward && !rest.is_data(); });
}

llvm::Expected<bool> row_bias_everywhere(const Request& r) {
  return add_before_sum(r.graph, [](const Node&, const Value& rest) { return rest.is_data(); });
}

llvm::Expected<bool> clip_counts_replicas(const Request& r) {
  return add_before_sum(r.graph, [](const Node& sum, const Value&) { return sum.phase == Phase::optimizer; });
}

llvm::Expected<bool> skip_tied_gradient(const Request& r) {
  for (const GradientOutput& g : r.graph.gradients)
    for (GraphOutput& o : r.graph.outputs)
      if (o.name == g.output && o.value->producer && o.value->producer->op->is(Trait::adds)) {
        Value &sum = *o.value, &first = sum.producer->operand(0);
        r.graph.replace_all_uses(sum, first);
        return true;
      }
  return false;
}

// From a gradient up to the sum that it waits for: the gradient takes what stands before the sum.
bool skip_sum_above(Graph& graph, Node* at) {
  for (int k = 0; at && k < 8; ++k) {
    unsigned next = 0;
    for (unsigned o = 0; o < at->operands.size(); ++o) {
      Node* from = at->operand(o).producer;
      if (!from || from->phase != Phase::backward) continue;
      if (!is_sum(*from)) {
        next = o;
        continue;
      }
      graph.set_operand(*at, o, from->operand(0));
      return true;
    }
    at = at->operands.empty() ? nullptr : at->operand(next).producer;
  }
  return false;
}

llvm::Expected<bool> partial_norm_gradient(const Request& r) {
  for (const GradientOutput& g : r.graph.gradients) {
    const auto out = llvm::find_if(r.graph.outputs, [&](const GraphOutput& o) { return o.name == g.output; });
    if (out->value->ndim() != 1 || !out->value->sharding || !out->value->sharding->is_replicated()) continue;
    if (skip_sum_above(r.graph, out->value->producer)) return true;
  }
  return false;
}

// A rank's first column, found as its number times the columns that it has itself. The loss counts positions first.
llvm::Expected<bool> local_vocabulary_as_global(const Request& r) {
  Node* columns =
      nth(r.graph, 1, [](const Node& node) { return node.phase == Phase::loss && node.op->is(Trait::counts); });
  if (!columns) return false;
  columns->attributes["start"] = columns->dim("size") * Dim(r.rank);
  return true;
}

llvm::Error exchange_axes(Graph& graph, Value& state, GraphOutput& next) {
  Builder build(graph);
  build.set_fold(false);
  build.at("mutant", "mutant");
  build.phase(Phase::optimizer);
  Formula f(build);
  const Dims dims = state.type.dims, turned{dims[1], dims[0]};
  const Attributes exchange{{"perm", llvm::SmallVector<int64_t, 4>{1, 0}}};
  const llvm::SmallVector<Use, 4> uses(state.uses.begin(), state.uses.end());
  build.before(graph.nodes.front().get());
  Value* before = f.op("transpose", {f.reshape(&state, turned)}, exchange);
  build.before(nullptr);
  Value* after = f.reshape(f.op("transpose", {next.value}, exchange), dims);
  if (auto e = f.take_error()) return e;
  for (const Use& use : uses) graph.set_operand(*use.node, use.operand, *before);
  before->sharding = after->sharding = state.sharding;
  after->cause = {CauseKind::propagated, "mutant", next.value->name};
  next.value = after;
  return llvm::Error::success();
}

// The step computes as before, what is saved is not what it says.
llvm::Expected<bool> moment_on_another_axis(const Request& r) {
  for (const Update& u : r.graph.updates) {
    Value* state = r.graph.find(u.input);
    if (u.kind.of == UpdateKind::parameter || !state || state->ndim() != 2 || !state->sharding ||
        state->sharding->is_replicated())
      continue;
    const auto next = llvm::find_if(r.graph.outputs, [&](const GraphOutput& o) { return o.name == u.output; });
    if (auto e = exchange_axes(r.graph, *state, *next)) return e;
    return true;
  }
  return false;
}

llvm::Expected<bool> vocabulary_off_by_one(const Request& r) {
  Node* lookup =
      nth(r.graph, 0, [](const Node& node) { return node.op->is(Trait::looks_up) && node.find<Dim>("row_start"); });
  if (!lookup) return false;
  if (r.rank == 1) lookup->attributes["row_start"] = lookup->dim("row_start") + Dim(1);
  return true;
}

llvm::Expected<bool> bias_correction_off_by_one(const Request& r) {
  Node* next = nth(r.graph, 0, [](const Node& node) {
    return node.phase == Phase::optimizer && node.op->is(Trait::adds) && node.operand(0).name == step_name;
  });
  if (!next) return false;
  for (const Use& use : llvm::SmallVector<Use, 4>(next->out().uses.begin(), next->out().uses.end()))
    if (use.node->op->is(Trait::converts)) {
      Node& more =
          r.graph.add_node(*next->op, {&next->out(), &next->operand(1)}, {next->out().type}, {"mutant"}, use.node);
      r.graph.set_operand(*use.node, use.operand, more.out());
      return true;
    }
  return false;
}

llvm::Expected<bool> decay_on_one_rank(const Request& r) {
  bool any = false;
  for (auto& node : r.graph.nodes) {
    if (node->phase != Phase::optimizer || !node->op->is(Trait::multiplies) || !node->operand(0).is_parameter) continue;
    any = true;
    if (r.rank == 0) r.graph.replace_all_uses(node->out(), node->operand(0));
  }
  return any;
}

llvm::Expected<bool> shift_shard(const Request& r) {
  bool any = false;
  for (Value* v : r.graph.data()) {
    if (!v->is_parameter || !v->shard || (!r.argument.empty() && v->name != r.argument)) continue;
    any = true;
    if (r.rank == 1)
      for (ShardDim& dim : v->shard->dims)
        if (dim.size() == 1 && dim[0].start > 0) {
          --dim[0].start, --dim[0].stop;
          return true;
        }
    if (r.rank != 1) return true;
  }
  return any;
}

// The fault is in the options that a rank is given: check_training.cpp.
llvm::Expected<bool> nothing_in_the_graph(const Request&) { return true; }

struct Mutant {
  const char* name;
  llvm::Expected<bool> (*apply)(const Request&);  // false: nothing in the graph to break that way
  bool numbered = false;                          // NAME:N breaks the N-th place
};
constexpr Mutant inference_mutants[] = {
    // The N-th sum is left out.
    {"drop-all-reduce", drop_all_reduce, /*numbered=*/true},
    // The N-th sum counts its addends too often.
    {"double-all-reduce", double_all_reduce, /*numbered=*/true},
    // The N-th sum counts its addends too little.
    {"mean-for-sum", mean_for_sum, /*numbered=*/true},
    // The residual is added before the sum.
    {"misplaced-all-reduce", misplaced_all_reduce},
    // A bias is added before the sum, on every rank.
    {"row-bias-everywhere", row_bias_everywhere},
    // Rank 1's shard of a weight, or of the one named, starts one row early.
    {"shift-shard", shift_shard},
    // Rank 1's lookup starts one row late.
    {"vocabulary-off-by-one", vocabulary_off_by_one},
};
constexpr Mutant training_mutants[] = {
    // The N-th sum of the backward pass is left out; the forward pass stays right.
    {"drop-backward-all-reduce", drop_backward_all_reduce, /*numbered=*/true},
    // A gradient without its second term.
    {"skip-tied-gradient", skip_tied_gradient},
    // A norm's gradient from what a sum has yet to complete.
    {"partial-norm-gradient", partial_norm_gradient},
    // The loss numbers a rank's columns by its own share.
    {"local-vocabulary-as-global", local_vocabulary_as_global},
    // The norm counts what every rank holds once a rank.
    {"clip-counts-replicas", clip_counts_replicas},
    // Adam's correction is that of the next step.
    {"bias-correction-off-by-one", bias_correction_off_by_one},
    // Rank 0 decays none of its weights.
    {"decay-on-one-rank", decay_on_one_rank},
    // A moment is kept with rows and columns exchanged.
    {"moment-on-another-axis", moment_on_another_axis},
    // The N-th gradient's sum over the axis data is left out.
    {"gradient-not-summed", gradient_not_summed, /*numbered=*/true},
    // The N-th gradient's sum over data counts every part once a part.
    {"gradient-summed-twice", gradient_summed_twice, /*numbered=*/true},
    // The N-th gradient is a mean over data.
    {"gradient-mean-for-sum", gradient_mean_for_sum, /*numbered=*/true},
    // The N-th sum outside of the loss is over the mesh's other axis.
    {"wrong-group", wrong_group, /*numbered=*/true},
    // Each rank updates its part of a parameter by the next part's gradient (ZeRO).
    {"gradient-of-another-shard", gradient_of_another_shard},
    // Of a parameter the step before is gathered (ZeRO).
    {"stale-parameter", stale_parameter},
    // Adam's two rates are exchanged.
    {swapped_betas.data(), nothing_in_the_graph},
    // The gradient's norm is not limited.
    {clip_not_applied.data(), nothing_in_the_graph},
};

std::string known_mutants() {
  std::string text;
  for (const Mutant& m : inference_mutants) text += std::string(m.name) + ", ";
  text += "or, of a training step, ";
  for (size_t k = 0; k < std::size(training_mutants); ++k) {
    const bool last = k + 1 == std::size(training_mutants);
    text += std::string(k == 0 ? "" : last ? " or " : ", ") + training_mutants[k].name;
  }
  return text;
}

const Mutant* find_mutant(llvm::StringRef name) {
  for (llvm::ArrayRef<Mutant> table : {llvm::ArrayRef(inference_mutants), llvm::ArrayRef(training_mutants)})
    for (const Mutant& m : table)
      if (name == m.name) return &m;
  return nullptr;
}
}  // namespace

llvm::Error apply_mutant(Graph& graph, int64_t rank, llvm::StringRef mutant) {
  const auto [name, argument] = mutant.split(':');
  const Mutant* found = find_mutant(name);
  if (!found) return error(Code::bad_value).flag("--mutant", quoted(mutant)).expected(known_mutants());
  int64_t n = 0;
  if (found->numbered && !argument.empty() && argument.getAsInteger(10, n))
    return error(Code::bad_value).flag("--mutant", quoted(mutant));
  auto broken = found->apply({graph, rank, n, argument});
  if (!broken) return broken.takeError();
  if (!*broken)
    return error(Code::bad_value).flag("--mutant", quoted(mutant)).what("nothing in the graph to break that way");
  return llvm::Error::success();
}
}  // namespace optp
