// Means over several micro-batches: sums with a count, divided once (a mean of means would give the labels of a batch
// that has few of them more weight).
#include "frontend/ir/formula.h"
#include "passes/training.h"

namespace optp {
llvm::Error accumulate_micro_batches(Graph& graph, Loss& loss, llvm::MutableArrayRef<ParameterGradient> gradients) {
  Builder build(graph);
  build.set_fold(false);
  build.phase(Phase::optimizer);
  build.at("accumulate", "");
  Formula f(build);
  auto add_up = [&](Value* part, const std::string& name, llvm::StringRef parameter) {
    Value* after = f.add(&graph.add_input(name, part->type), part);
    if (f.failed()) return after;
    graph.rename(*after, name + ".next");
    graph.updates.push_back({name, after->name, parameter.str(), {UpdateKind::accumulated}});
    graph.outputs.push_back({after->name, after});
    return after;
  };
  Value* count = add_up(loss.count, "count.accumulated", "");
  loss.loss = f.op("div", {add_up(loss.total, "loss.accumulated", ""), count}, {}, "loss");
  Value* divisor = at_least_one(f, count);
  for (auto& [parameter, gradient] : gradients)
    gradient = f.div(add_up(gradient, parameter->name + ".accumulated", parameter->name), divisor);
  return f.take_error();
}
}  // namespace optp
