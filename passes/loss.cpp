// The loss of a causal language model: mean cross-entropy of labels shifted by one, those of -100 left out (as
// torch.nn.functional.cross_entropy with ignore_index, and transformers' causal models, have it). Labels are shifted,
// never the logits. With z = logits - max, over a vocabulary that may be split:
//   loss = Σ w · (log Σ eᶻ - z[label]) / Σ w          dloss/dlogits = (eᶻ / Σ eᶻ - onehot(label)) · w / Σ w
// z[label] is a sum over the vocabulary of z · onehot, so that a rank without the label adds zero and nothing is
// gathered.
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/formula.h"
#include "passes/input_names.h"
#include "passes/training.h"
#include "passes/weights.h"

namespace optp {
// The input that the tokens come in by; position and type ids choose rows of a table, too.
const Value* find_ids(const Graph& graph) {
  const Value* found = nullptr;
  for (const Value* v : graph.inputs) {
    const InputName name = input_name(v->name);
    if (v->ndim() != 2 || rows_indexed(*v) == 0 || !may_be_ids(name)) continue;
    if (!found || name == InputName::input_ids) found = v;
  }
  return found;
}

// Of any other name an output must be as wide as the table of the ids, at least (heads are padded): hidden states of
// that shape are no logits, and a loss of them would train without a fault and without a sense.
Value* find_logits(const Graph& graph) {
  auto fits = [&](const GraphOutput& o) {
    return is_float(o.value->type.dtype) && o.value->ndim() == 3 && o.value->producer &&
           llvm::none_of(graph.states, [&](const State& s) { return s.output == o.name; });
  };
  for (const GraphOutput& o : graph.outputs)
    if (o.name == logits_name && fits(o)) return o.value;
  const Value* ids = find_ids(graph);
  if (!ids) return nullptr;
  for (const GraphOutput& o : graph.outputs)
    if (fits(o) && llvm::ArrayRef<Dim>(o.value->type.dims).take_front(2) == llvm::ArrayRef<Dim>(ids->type.dims) &&
        o.value->type.dims[2].constant().value_or(0) >= rows_indexed(*ids))
      return o.value;
  return nullptr;
}

Value* at_least_one(Formula& f, Value* count) { return f.op("max", {count, f.scalar(DType::f32, 1)}); }

namespace {
Diagnostic no_logits(const Graph& graph) {
  const Value* ids = find_ids(graph);
  std::string found;
  for (const GraphOutput& o : graph.outputs)
    found += (found.empty() ? "" : ", ") + quoted(o.name) + " " + to_string(o.value->type.dims);
  const std::string expected =
      "one of the name 'logits'" + (ids ? ", or of at least the " + std::to_string(rows_indexed(*ids)) + " rows that " +
                                              quoted(ids->name) + " chooses from"
                                        : std::string("; no input of token ids says a vocabulary"));
  return error(Code::shape_mismatch)
      .in_file(graph.source)
      .what("no output of shape [batch, sequence, vocabulary] to train on")
      .what("expected " + expected + "; found " + found)
      .about({.expected = expected, .found = found});
}

// What the labels say of each position.
struct Targets {
  Value *weight, *count;  // [batch, sequence]: 1, or 0 where the label is left out; their sum
  Value* onehot;          // [batch, sequence, vocabulary]
};
Targets targets_of(Formula& f, Value& labels, Dim vocabulary) {
  const Dim batch = labels.type.dims[0], sequence = labels.type.dims[1];
  // Looked up, not sliced: a slice would make two parts of the logits' sequence, which then could not be cut. Position
  // p's label is that of p + 1, counted from the end so that the last position has one to leave out: 1 - s, …, -1, 0.
  Value* at =
      f.op("iota", {}, {{"size", sequence}, {"start", 1 - sequence}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}});
  Value* next = f.op("gather", {&labels, at}, {{"axis", int64_t(1)}});
  next = f.op("where", {f.op("equal", {at, f.scalar(DType::i64, 0)}), f.scalar(DType::i64, ignored_label), next}, {},
              "labels.shifted");
  Value* counted = f.op("not", {f.op("equal", {next, f.scalar(DType::i64, ignored_label)})}, {}, "labels.counted");
  Value* weight = f.cast(counted, DType::f32);
  Value* count = f.sum(weight, {0, 1}, /*keepdims=*/false);
  Value* column =
      f.op("iota", {}, {{"size", vocabulary}, {"start", Dim(0)}, {"step", Dim(1)}, {"dtype", int64_t(DType::i64)}});
  Value* onehot = f.cast(f.op("equal", {f.reshape(next, {batch, sequence, 1}), column}), DType::f32);
  return {weight, count, onehot};
}
}  // namespace

llvm::Expected<Loss> build_loss(Graph& graph, bool undivided) {
  Value* logits = find_logits(graph);
  if (!logits) return no_logits(graph);
  Builder build(graph);
  build.set_fold(false);
  build.at("loss", "");
  build.phase(Phase::loss);
  Formula f(build);
  const Dims tokens(logits->type.dims.begin(), logits->type.dims.begin() + 2), once{tokens[0], tokens[1], 1};
  Value& labels = graph.add_input(labels_name, {DType::i64, tokens});
  const auto [weight, count, onehot] = targets_of(f, labels, logits->type.dims[2]);

  Value* wide = f.cast(logits, DType::f32);
  Value* z = f.sub(wide, f.op("reduce_max", {wide},
                              {{"axes", llvm::SmallVector<int64_t, 4>{2}}, {"keepdims", int64_t(1)}}, "loss.max"));
  Value* e = f.exp(z);
  Value* total = f.sum(e, {2}, /*keepdims=*/true);
  Value* picked = f.sum(f.mul(z, onehot), {2}, /*keepdims=*/true);
  // Of ignored labels, too, the terms are finite: their weight of zero leaves no trace.
  Value* counts = f.reshape(weight, once);
  Value* terms = f.mul(f.sub(f.op("log", {total}), picked), counts);
  Value* all = f.sum(terms, {0, 1, 2}, /*keepdims=*/false);
  Value* loss = undivided ? nullptr : f.op("div", {all, count}, {}, "loss");

  build.phase(Phase::backward);
  Value* share = f.reshape(weight, once);
  // Where no label counts the mean is NaN and the gradient 0, as PyTorch has it: NaN in one step would be NaN in all
  // parameters.
  if (!undivided) share = f.div(share, at_least_one(f, count));
  Value* target = f.mul(onehot, share);
  Value* dlogits = f.sub(f.mul(e, f.div(share, total)), target);
  // Of half-precision logits the gradient stays wide: a token's share would vanish in float16.
  if (!is_half(logits->type.dtype)) dlogits = f.cast(dlogits, logits->type.dtype);
  if (auto error = f.take_error()) return error;
  graph.rename(*dlogits, logits->name + ".grad");
  return Loss{loss, logits, dlogits, all, count};
}
}  // namespace optp
