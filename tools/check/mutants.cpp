#include "tools/check/mutants.h"

#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "frontend/ir/op.h"

namespace optp {
namespace {
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
Node* nth(Graph& graph, int64_t n, llvm::function_ref<bool(const Node&)> wanted) {
  for (auto& node : graph.nodes)
    if (wanted(*node) && n-- == 0) return node.get();
  return nullptr;
}
Node& scaled(Graph& graph, Node& after, double factor) {
  Array a;
  a.resize(true, {});
  a.f[0] = factor;
  Value& number = graph.add_data("mutant.factor", to_tensor(a, after.out().type.dtype));
  auto next = std::next(after.place);
  Node& mul = graph.add_node(get_op("mul"), {&after.out(), &number}, {after.out().type}, {"mutant"},
                             next == graph.nodes.end() ? nullptr : next->get());
  mul.phase = after.phase;
  mul.out().sharding = after.out().sharding;
  mul.out().logical_dims = after.out().logical_dims;
  mul.out().cause = {CauseKind::propagated, "mutant", after.out().name};
  for (const Use& use : llvm::SmallVector<Use, 4>(after.out().uses.begin(), after.out().uses.end()))
    if (use.node != &mul) graph.set_operand(*use.node, use.operand, mul.out());
  return mul;
}
}  // namespace

llvm::Error apply_mutant(Graph& graph, int64_t rank, llvm::StringRef mutant) {
  auto [kind, argument] = mutant.split(':');
  auto none = [&]() -> llvm::Error {
    return error(Code::bad_value).flag("--mutant", quoted(mutant)).what("nothing in the graph to break that way");
  };
  if (kind == "drop-all-reduce") {
    int64_t wanted = 0, seen = 0;
    if (!argument.empty() && argument.getAsInteger(10, wanted))
      return error(Code::bad_value).flag("--mutant", quoted(mutant));
    for (auto& node : graph.nodes)
      if (node->op->collective == Collective::all_reduce && seen++ == wanted) {
        graph.replace_all_uses(node->out(), node->operand(0));
        graph.erase(*node);
        return llvm::Error::success();
      }
    return none();
  }
  int64_t n = 0;
  const auto is_sum = [](const Node& node) {
    return node.op->collective == Collective::all_reduce && call_of(node).reduce == Reduce::sum;
  };
  if (kind == "double-all-reduce" || kind == "mean-for-sum" || kind == "drop-backward-all-reduce") {
    if (!argument.empty() && argument.getAsInteger(10, n))
      return error(Code::bad_value).flag("--mutant", quoted(mutant));
    Node* sum = nth(graph, n, [&](const Node& node) {
      return is_sum(node) && (kind != "drop-backward-all-reduce" || node.phase == Phase::backward);
    });
    if (!sum) return none();
    if (kind == "drop-backward-all-reduce") {
      graph.replace_all_uses(sum->out(), sum->operand(0));
      graph.erase(*sum);
    } else {
      // Summed twice, every addend counts as often as there are devices; a mean counts it once in as many.
      const double devices = double(sum->integers("group").size());
      scaled(graph, *sum, kind == "mean-for-sum" ? 1 / devices : devices);
    }
    return llvm::Error::success();
  }
  if (kind == "misplaced-all-reduce")
    return add_before_sum(
               graph, [](const Node& sum, const Value& rest) { return sum.phase == Phase::forward && !rest.is_data(); })
               ? llvm::Error::success()
               : none();
  if (kind == "row-bias-everywhere")
    return add_before_sum(graph, [](const Node&, const Value& rest) { return rest.is_data(); }) ? llvm::Error::success()
                                                                                                : none();
  if (kind == "clip-counts-replicas")
    return add_before_sum(graph, [](const Node& sum, const Value&) { return sum.phase == Phase::optimizer; })
               ? llvm::Error::success()
               : none();
  if (kind == "skip-tied-gradient") {
    for (const GradientOutput& g : graph.gradients)
      for (GraphOutput& o : graph.outputs)
        if (o.name == g.output && o.value->producer && o.value->producer->op->is(Trait::adds)) {
          Value &sum = *o.value, &first = sum.producer->operand(0);
          graph.replace_all_uses(sum, first);
          return llvm::Error::success();
        }
    return none();
  }
  if (kind == "partial-norm-gradient") {
    // From a parameter's gradient up to the sum that it waits for: the gradient takes what stands before the sum.
    for (const GradientOutput& g : graph.gradients) {
      const auto out = llvm::find_if(graph.outputs, [&](const GraphOutput& o) { return o.name == g.output; });
      if (out->value->ndim() != 1 || !out->value->sharding || !out->value->sharding->is_replicated()) continue;
      Node* at = out->value->producer;
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
          return llvm::Error::success();
        }
        at = at->operands.empty() ? nullptr : at->operand(next).producer;
      }
    }
    return none();
  }
  if (kind == "local-vocabulary-as-global") {
    // A rank's first column, found as its number times the columns that it has itself.
    Node* columns =
        nth(graph, 0, [](const Node& node) { return node.phase == Phase::loss && node.op->is(Trait::counts); });
    if (!columns) return none();
    columns->attributes["start"] = columns->dim("size") * Dim(rank);
    return llvm::Error::success();
  }
  if (kind == "moment-on-another-axis") {
    // Kept with rows and columns exchanged: the step computes as before, what is saved is not what it says.
    for (const Update& u : graph.updates) {
      Value* state = graph.find(u.input);
      if (u.kind == "parameter" || !state || state->ndim() != 2 || !state->sharding || state->sharding->is_replicated())
        continue;
      const auto next = llvm::find_if(graph.outputs, [&](const GraphOutput& o) { return o.name == u.output; });
      Builder build(graph);
      build.set_fold(false);
      build.at("mutant", "mutant");
      build.phase(Phase::optimizer);
      Formula f(build);
      const Dims dims = state->type.dims, turned{dims[1], dims[0]};
      const Attributes exchange{{"perm", llvm::SmallVector<int64_t, 4>{1, 0}}};
      const llvm::SmallVector<Use, 4> uses(state->uses.begin(), state->uses.end());
      build.before(graph.nodes.front().get());
      Value* before = f.op("transpose", {f.reshape(state, turned)}, exchange);
      build.before(nullptr);
      Value* after = f.reshape(f.op("transpose", {next->value}, exchange), dims);
      if (auto e = f.take_error()) return e;
      for (const Use& use : uses) graph.set_operand(*use.node, use.operand, *before);
      before->sharding = after->sharding = state->sharding;
      after->cause = {CauseKind::propagated, "mutant", next->value->name};
      next->value = after;
      return llvm::Error::success();
    }
    return none();
  }
  if (kind == "vocabulary-off-by-one") {
    Node* lookup =
        nth(graph, 0, [](const Node& node) { return node.op->is(Trait::looks_up) && node.find<Dim>("row_start"); });
    if (!lookup) return none();
    if (rank == 1) lookup->attributes["row_start"] = lookup->dim("row_start") + Dim(1);
    return llvm::Error::success();
  }
  if (kind == "bias-correction-off-by-one") {
    Node* next = nth(graph, 0, [](const Node& node) {
      return node.phase == Phase::optimizer && node.op->is(Trait::adds) && node.operand(0).name == "step";
    });
    if (!next) return none();
    for (const Use& use : llvm::SmallVector<Use, 4>(next->out().uses.begin(), next->out().uses.end()))
      if (use.node->op->is(Trait::converts)) {
        Node& more =
            graph.add_node(*next->op, {&next->out(), &next->operand(1)}, {next->out().type}, {"mutant"}, use.node);
        graph.set_operand(*use.node, use.operand, more.out());
        return llvm::Error::success();
      }
    return none();
  }
  if (kind == "decay-on-one-rank") {
    bool any = false;
    for (auto& node : graph.nodes) {
      if (node->phase != Phase::optimizer || !node->op->is(Trait::multiplies) || !node->operand(0).is_parameter)
        continue;
      any = true;
      if (rank == 0) graph.replace_all_uses(node->out(), node->operand(0));
    }
    return any ? llvm::Error::success() : none();
  }
  if (kind == "shift-shard") {
    bool any = false;
    for (Value* v : graph.data()) {
      if (!v->is_parameter || !v->shard || (!argument.empty() && v->name != argument)) continue;
      any = true;
      if (rank == 1)
        for (ShardDim& dim : v->shard->dims)
          if (dim.size() == 1 && dim[0].start > 0) {
            --dim[0].start, --dim[0].stop;
            return llvm::Error::success();
          }
      if (rank != 1) return llvm::Error::success();
    }
    return any ? llvm::Error::success() : none();
  }
  if (kind == "swapped-betas" || kind == "clip-not-applied")
    return llvm::Error::success();  // of the ranks' options, not of a graph
  return error(Code::bad_value)
      .flag("--mutant", quoted(mutant))
      .expected(
          "drop-all-reduce, double-all-reduce, mean-for-sum, misplaced-all-reduce, row-bias-everywhere, shift-shard, "
          "vocabulary-off-by-one, or, of a training step, drop-backward-all-reduce, skip-tied-gradient, "
          "partial-norm-gradient, local-vocabulary-as-global, clip-counts-replicas, bias-correction-off-by-one, "
          "decay-on-one-rank, moment-on-another-axis, swapped-betas or clip-not-applied");
}
}  // namespace optp
