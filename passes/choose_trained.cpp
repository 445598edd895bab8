// Which parameters are trained, and which weight decay leaves out: by name patterns, as users give them.
#include "frontend/ir/diagnostic.h"
#include "passes/patterns.h"
#include "passes/training.h"

namespace optp {
llvm::Error choose_trained(Graph& graph, const TrainingOptions& options) {
  auto mark = [&](llvm::ArrayRef<std::string> patterns, const char* flag, llvm::function_ref<void(Value&)> each,
                  bool constants_too = false) -> llvm::Error {
    std::vector<Value*> among = graph.data();
    llvm::erase_if(among,
                   [&](const Value* v) { return !v->is_parameter && !(constants_too && is_float(v->type.dtype)); });
    auto wanted = Patterns::parse(patterns, flag, among);
    if (!wanted) return wanted.takeError();
    for (Value* v : among)
      if (wanted->matches(*v)) each(*v);
    return wanted->unmatched("parameter");
  };
  for (Value* v : graph.data()) v->frozen = v->is_parameter && !options.trainable.empty();
  if (auto e = mark(options.trainable, "--trainable", [](Value& v) { v.frozen = false; })) return e;
  if (auto e = mark(options.freeze, "--freeze", [](Value& v) { v.frozen = v.is_parameter; }, true))
    return e;  // to freeze a constant is no mistake
  if (auto e = mark(options.no_decay, "--no-decay", [](Value&) {})) return e;
  if (llvm::none_of(graph.data(), [](const Value* v) { return v->is_parameter && !v->frozen; }))
    return error(Code::unmatched_pattern).in_file(graph.source).what("no parameter is left to train");
  // Optimizers, loss and what is compared with them are float32's.
  for (const Value* v : graph.data())
    if (v->is_parameter && !v->frozen && v->type.dtype == DType::f64)
      return error(Code::dtype_mismatch)
          .in_file(graph.source)
          .tensor("parameter", v->name)
          .what("dtype")
          .what("training is not supported in float64")
          .expected("float32, float16 or bfloat16")
          .found("float64")
          .hint("export the model in float32, or leave it out by --freeze");
  return llvm::Error::success();
}

llvm::DenseSet<const Value*> without_decay(const Graph& graph, const TrainingOptions& options) {
  std::vector<Value*> parameters = graph.data();
  parameters.insert(parameters.end(), graph.inputs.begin(), graph.inputs.end());  // as which a step takes those trained
  llvm::erase_if(parameters, [](const Value* v) { return !v->is_parameter; });
  llvm::DenseSet<const Value*> out;
  auto patterns = Patterns::parse(options.no_decay, "--no-decay", parameters);
  if (!patterns) {
    llvm::consumeError(patterns.takeError());  // choose_trained has said so
    return out;
  }
  for (const Value* v : parameters)
    if (patterns->matches(*v)) out.insert(v);
  return out;
}
}  // namespace optp
