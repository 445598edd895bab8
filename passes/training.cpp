#include "passes/training.h"

#include "frontend/ir/builder.h"
#include "frontend/ir/diagnostic.h"
#include "passes/patterns.h"

namespace optp {
llvm::Error choose_trained(Graph& graph, const TrainingOptions& options) {
  auto mark = [&](llvm::ArrayRef<std::string> patterns, const char* flag, llvm::function_ref<void(Value&)> each,
                  bool constants_too = false) -> llvm::Error {
    auto wanted = Patterns::parse(patterns, flag);
    if (!wanted) return wanted.takeError();
    for (Value* v : graph.data())
      if ((v->is_parameter || (constants_too && is_float(v->type.dtype))) && wanted->matches(*v)) each(*v);
    return wanted->unmatched("parameter");
  };
  for (Value* v : graph.data()) v->frozen = v->is_parameter && !options.trainable.empty();
  if (auto e = mark(options.trainable, "--trainable", [](Value& v) { v.frozen = false; })) return e;
  if (auto e = mark(options.freeze, "--freeze", [](Value& v) { v.frozen = v.is_parameter; }, true))
    return e;  // to freeze a constant is no mistake
  if (auto e = mark(options.no_decay, "--no-decay", [](Value&) {})) return e;
  if (llvm::none_of(graph.data(), [](const Value* v) { return v->is_parameter && !v->frozen; }))
    return error(Fault::usage, graph.source + ": no parameter is left to train");
  // Optimizers, loss and what is compared with them are float32's.
  for (const Value* v : graph.data())
    if (v->is_parameter && !v->frozen && v->type.dtype == DType::f64)
      return bad_input(graph.source + ": parameter " + quoted(v->name) +
                       ": dtype: training is not supported in float64: expected float32, float16 or bfloat16, found "
                       "float64; export the model in float32, or leave it out by --freeze");
  return llvm::Error::success();
}

bool decays(const Value& parameter, const TrainingOptions& options) {
  auto patterns = Patterns::parse(options.no_decay, "--no-decay");
  if (patterns) return !patterns->matches(parameter);
  llvm::consumeError(patterns.takeError());  // choose_trained has said so
  return true;
}

llvm::Error widen_masters(Graph& graph) {
  Builder build(graph);
  build.set_fold(false);
  for (Value* v : graph.data()) {
    if (!v->is_parameter || v->frozen || !is_half(v->type.dtype)) continue;
    const DType half = v->type.dtype;
    llvm::SmallVector<Use, 4> uses(v->uses.begin(), v->uses.end());
    v->type.dtype = DType::f32;
    if (v->data->is_missing()) {
      auto wide = std::make_shared<Tensor>(*v->data);
      wide->dtype = DType::f32;
      v->data = std::move(wide);
    } else {
      v->data = to_tensor(to_array(*v->data), DType::f32);
    }
    build.before(graph.nodes.front().get());
    auto narrow = build.create("cast", {v}, {{"to", int64_t(half)}}, v->name + "." + to_string(half).str());
    if (!narrow) return narrow.takeError();
    (*narrow)->sharding = v->sharding;
    (*narrow)->cause = {"the half-precision value of a float32 master", v->name};
    for (const Use& use : uses) graph.set_operand(*use.node, use.operand, **narrow);
  }
  return llvm::Error::success();
}

llvm::Error make_training_step(Graph& graph, const PassOptions& passes, const TrainingOptions& options) {
  if (auto e = check_settings(options)) return e;
  if (auto e = choose_trained(graph, options)) return e;
  if (auto e = widen_masters(graph)) return e;
  const bool accumulates = options.accumulate > 1;
  auto loss = build_loss(graph, accumulates);
  if (!loss) return loss.takeError();
  auto gradients = differentiate(graph, *loss->logits, *loss->dlogits);
  if (!gradients) return gradients.takeError();
  graph.outputs.clear();
  graph.states.clear();
  if (accumulates)
    if (auto e = accumulate_micro_batches(graph, *loss, *gradients)) return e;
  graph.outputs.push_back({"loss", loss->loss});
  for (auto [parameter, gradient] : *gradients) {
    // One value may be the gradient of two parameters that are added to each other: it is given under both names.
    const std::string wish = parameter->name + ".grad",
                      name = graph.find(wish) == gradient ? wish : graph.unique_name(wish);
    if (!graph.is_output(*gradient) && gradient->name != name) graph.rename(*gradient, name);
    graph.gradients.push_back({parameter->name, name});
    graph.outputs.push_back({name, gradient});
  }
  if (auto e = add_optimizer(graph, *gradients, options)) return e;
  graph.erase_dead();
  return annotate_training(graph, passes);
}
}  // namespace optp
