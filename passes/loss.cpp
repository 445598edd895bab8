// The loss of a causal language model: mean cross-entropy of labels shifted by one, those of -100 left out (as
// torch.nn.functional.cross_entropy with ignore_index, and transformers' causal models, have it). Labels are shifted, never
// the logits. With z = logits - max, over a vocabulary that may be split:
//   loss = Σ w · (log Σ eᶻ - z[label]) / Σ w          dloss/dlogits = (eᶻ / Σ eᶻ - onehot(label)) · w / Σ w
// z[label] is a sum over the vocabulary of z · onehot, so that a rank without the label adds zero and nothing is gathered.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "passes/training.h"

namespace optp {
namespace {
constexpr int64_t ignored = -100;

Value* find_logits(const Graph& graph) {
  auto fits = [&](const GraphOutput& o) {
    return is_float(o.value->type.dtype) && o.value->ndim() == 3 && o.value->producer &&
           llvm::none_of(graph.states, [&](const State& s) { return s.output == o.name; });
  };
  for (const GraphOutput& o : graph.outputs)
    if (o.name == "logits" && fits(o)) return o.value;
  for (const GraphOutput& o : graph.outputs)
    if (fits(o)) return o.value;
  return nullptr;
}
}  // namespace

llvm::Expected<Loss> build_loss(Graph& graph, bool undivided) {
  Value* logits = find_logits(graph);
  if (!logits) return bad_input(graph.source + ": no output of shape [batch, sequence, vocabulary] to train on");
  Builder build(graph);
  build.set_fold(false);
  build.at("loss", "");
  build.phase(Phase::loss);
  Formula f(build);
  const Dims tokens(logits->type.dims.begin(), logits->type.dims.begin() + 2), once{tokens[0], tokens[1], 1};
  const Dim vocabulary = logits->type.dims[2];
  Value& labels = graph.add_input("labels", {DType::i64, tokens});

  Value* next = f.op("slice", {&labels}, {{"axis", int64_t(1)}, {"start", Dim(1)}, {"size", tokens[1] - 1}, {"step", int64_t(1)}});
  next = f.op("pad", {next}, {{"axis", int64_t(1)}, {"before", Dim(0)}, {"after", Dim(1)}, {"value", double(ignored)}}, "labels.shifted");
  Value* counted = f.op("not", {f.op("equal", {next, f.scalar(DType::i64, ignored)})}, {}, "labels.counted");
  Value* weight = f.cast(counted, DType::f32);
  Value* count = f.sum(weight, {0, 1}, false);
  Value* column = f.op("iota", {}, {{"size", vocabulary}, {"start", Dim(0)}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}});
  Value* onehot = f.cast(f.op("equal", {f.reshape(next, once), column}), DType::f32);

  Value* wide = f.cast(logits, DType::f32);
  Value* z = f.sub(wide, f.op("reduce_max", {wide}, {{"axes", llvm::SmallVector<int64_t, 4>{2}}, {"keepdims", int64_t(1)}}, "loss.max"));
  Value* e = f.exp(z);
  Value* total = f.sum(e, {2}, true);
  Value* picked = f.sum(f.mul(z, onehot), {2}, true);
  // Of ignored labels, too, the terms are finite: their weight of zero leaves no trace.
  Value* terms = f.mul(f.sub(f.op("log", {total}), picked), f.reshape(weight, once));
  Value* all = f.sum(terms, {0, 1, 2}, false);
  Value* loss = undivided ? nullptr : f.op("div", {all, count}, {}, "loss");

  build.phase(Phase::backward);
  Value* share = f.reshape(weight, once);
  if (!undivided) share = f.div(share, count);
  Value* dlogits = f.sub(f.mul(e, f.div(share, total)), f.mul(onehot, share));
  // Of half-precision logits the gradient stays wide: a token's share would vanish in float16.
  if (!is_half(logits->type.dtype)) dlogits = f.cast(dlogits, logits->type.dtype);
  if (auto error = f.take_error()) return error;
  graph.rename(*dlogits, logits->name + ".grad");
  return Loss{loss, logits, dlogits, all, count};
}
}  // namespace optp
