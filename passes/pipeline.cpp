// The table of stages. Where the order of two matters, the later one says why.
#include "passes/pipeline.h"

#include <utility>

#include "frontend/ir/diagnostic.h"
#include "passes/cached_decoder.h"
#include "passes/partials.h"
#include "passes/weights.h"

namespace optp {
namespace {
using enum Stage::When;
using enum Stage::Flag;
using Run = llvm::Error (*)(Compilation&, int64_t);

template <llvm::Error (*pass)(Graph&, const PassOptions&)>
llvm::Error on_whole(Compilation& c, int64_t) {
  return pass(*c.whole, c.passes);
}
// A stage was asked for by name on a graph that the one before it did not come from.
llvm::Error out_of_order(llvm::StringRef stage, llvm::StringRef before) {
  return error(Code::bad_value).what("pass " + stage + " runs only after " + before + ", in one run of the pipeline");
}
// What else a model gives (attention's shares, caches of its own making) may need tokens that a decoder does not have.
void keep_logits(Graph& graph, const Value& ids) {
  const GraphOutput* logits = logits_among(graph, ids.type.dims[0], rows_indexed(ids));
  if (!logits) return;
  const std::string name = logits->name;
  llvm::erase_if(graph.outputs, [&](const GraphOutput& o) {
    return o.name != name && llvm::none_of(graph.states, [&](const State& s) { return s.output == o.name; });
  });
  graph.erase_dead();
}
llvm::Error add_caches(Compilation& c, int64_t) {
  if (!c.passes.kv_cache) return llvm::Error::success();
  if (c.passes.last_logits) {
    auto ids = ids_of(*c.whole);
    if (!ids) return ids.takeError();
    keep_logits(*c.whole, **ids);
  }
  auto made = cached_decoder(*c.whole, *c.passes.kv_cache);
  if (!made) return made.takeError();
  c.whole = std::move(*made);
  return llvm::Error::success();
}
llvm::Error last_logits(Compilation& c, int64_t) {
  if (!c.passes.kv_cache) return llvm::Error::success();
  if (c.passes.last_logits)
    if (auto e = keep_last_logits(*c.whole)) return e;
  c.decoder = c.whole->clone();
  c.decoder->erase_dead();
  return llvm::Error::success();
}
llvm::Error shard(Compilation& c, int64_t) {
  auto made = annotate(*c.whole, c.passes);
  if (!made) return made.takeError();
  c.annotation = std::make_unique<Annotation>(std::move(*made));
  return llvm::Error::success();
}
template <llvm::Expected<bool> (*rewrite)(Graph&, const Annotation&, const PassOptions&)>
llvm::Error by_annotation(Compilation& c, int64_t) {
  if (!c.annotation) {
    auto made = Annotation::of(*c.whole);
    if (!made) return made.takeError();
    c.annotation = std::make_unique<Annotation>(std::move(*made));
  }
  auto changed = rewrite(*c.whole, *c.annotation, c.passes);
  if (!changed) return changed.takeError();
  if (*changed) c.annotation.reset();
  return llvm::Error::success();
}
llvm::Error begin_training(Compilation& c, int64_t) {
  c.inference = c.whole->clone();
  return choose_trained(*c.whole, c.training);
}
llvm::Error loss(Compilation& c, int64_t) {
  auto made = build_loss(*c.whole, /*undivided=*/c.training.accumulate > 1);
  if (!made) return made.takeError();
  c.loss = *made;
  return llvm::Error::success();
}
llvm::Error gradients(Compilation& c, int64_t) {
  if (!c.loss) return out_of_order("differentiate", "build-loss");
  auto made = differentiate(*c.whole, *c.loss->logits, *c.loss->dlogits);
  if (!made) return made.takeError();
  c.gradients = std::move(*made);
  return llvm::Error::success();
}
llvm::Error micro_batches(Compilation& c, int64_t) {
  if (c.training.accumulate <= 1) return llvm::Error::success();
  if (c.gradients.empty()) return out_of_order("accumulate", "differentiate");
  return accumulate_micro_batches(*c.whole, *c.loss, c.gradients);
}
llvm::Error outputs(Compilation& c, int64_t) {
  if (!c.loss || c.gradients.empty()) return out_of_order("training-outputs", "differentiate");
  set_training_outputs(*c.whole, *c.loss, c.gradients);
  return llvm::Error::success();
}
llvm::Error next_parameters(Compilation& c, int64_t) {
  if (c.gradients.empty()) return out_of_order("optimizer", "differentiate");
  return add_optimizer(*c.whole, c.gradients, c.training);
}
llvm::Error loss_in_chunks(Compilation& c, int64_t) {
  if (c.training.loss_chunks <= 1) return llvm::Error::success();
  if (!c.loss) return out_of_order("chunk-loss", "build-loss");
  // What these point at is replaced.
  const Loss loss = *std::exchange(c.loss, std::nullopt);
  c.gradients.clear();
  return chunk_loss(*c.whole, *loss.logits, c.training.loss_chunks);
}
llvm::Error make_spmd(Compilation& c, int64_t) {
  auto made = split(*c.whole, c.passes);
  if (!made) return made.takeError();
  c.spmd = std::move(*made);
  return llvm::Error::success();
}
llvm::Error make_rank(Compilation& c, int64_t rank) {
  auto made = materialise(*c.spmd, rank);
  if (!made) return made.takeError();
  c.ranks.resize(std::max(c.ranks.size(), size_t(rank) + 1));
  c.ranks[size_t(rank)] = std::move(*made);
  return llvm::Error::success();
}

const Stage stages[] = {
    // Before tying: a transposed copy of a table is one only once its transpose is in the product's loops. Of a rank
    // graph: ONNX's products need the transposes that ours do without.
    {"absorb-transposes", "a transpose before or after a product becomes an order of its loops", emitted,
     on_whole<absorb_transposes>, sweeps | counts},
    {"merge-views", "reshapes of reshapes, and of what already has the shape, become one or none", emitted,
     on_whole<merge_views>, sweeps | counts},
    // Before classes of factors are formed: a bias shared by two layers would tie their shardings together.
    {"unshare-parameters", "what the exporter merged becomes one parameter per module", always,
     on_whole<unshare_parameters>, sweeps | counts},
    // After what was merged has its modules apart; before the first pass that takes names from users.
    {"recover-names", "parameters get the names that the model's source has for them, beside the file's", always,
     on_whole<recover_names>},
    {"tie-weights",
     "a table and a head with equal contents become one parameter, and so do the copies of a module's weight", always,
     on_whole<tie_weights>, sweeps | counts},
    // After tying, which decides what is one tensor, and before precision, whose casts stand between a parameter and
    // its use.
    {"find-parameters", "decides which initializers are trained", always, on_whole<find_parameters>, sweeps},
    {"precision", "half-precision weights are widened to float32 where they are used", always, on_whole<precision>,
     sweeps},
    // Before caches are made, which then hold rounded keys. Of a training step, whose gradients are products, too:
    // later.
    {"round-products", "where half precision is asked for, products take rounded operands, and weights are stored so",
     always,
     [](Compilation& c, int64_t) { return c.trains ? llvm::Error::success() : round_products(*c.whole, c.passes); },
     sweeps},
    {"find-states", "outputs that extend an input become states: key/value caches", always, on_whole<find_states>,
     sweeps},
    // After states are known: a model's own caches give way to those.
    {"add-caches", "where asked for, a decoder that keeps keys and values of earlier tokens in caches", always,
     add_caches, sweeps | makes_graph},
    {"last-logits", "where asked for, a decoder with caches gives the logits of the last token alone", always,
     last_logits, sweeps},
    {"annotate", "gives every value a sharding and its cause; keeps partial sums as far as they may go", always, shard},
    // What is decided shows what to rewrite for it; then all is decided anew, until nothing is left to rewrite.
    {"repeat-heads", "heads that are copied for more devices than there are heads become one operator", always,
     by_annotation<repeat_heads>, counts | reannotates},
    {"lower-norms", "a norm over what is cut becomes what it computes, whose sums are of parts", always,
     by_annotation<lower_norms>, counts | reannotates},
    {"join-partials", "in a chain of adds what is partial is added up first, and reduced once", always,
     by_annotation<join_partials>, counts | reannotates},
    // Training starts from an annotated graph, so that the forward part of its plan is the inference plan.
    {"choose-trained", "decides which parameters are trained and which are frozen", training, begin_training},
    {"widen-masters", "half-precision parameters get float32 masters", training,
     [](Compilation& c, int64_t) { return widen_masters(*c.whole); }},
    {"build-loss", "the mean cross-entropy of the logits with labels", training, loss},
    {"differentiate", "the gradient of every trained parameter", training, gradients},
    // Between gradients and optimizer: sums over micro-batches are divided once, before they are clipped.
    {"accumulate", "gradients and loss are summed over micro-batches, and divided once", training, micro_batches},
    {"training-outputs", "loss and gradients become the outputs", training, outputs},
    {"optimizer", "state, and the next value of every parameter", training, next_parameters, sweeps},
    // Before shardings are decided: what a chunk's gradients are parts of is reduced once, behind the last chunk.
    {"chunk-loss", "where asked for, logits and loss are computed in chunks of the sequence, one after the other",
     training, loss_in_chunks, sweeps},
    {"annotate-training", "what training added is sharded as the parameters and the forward part are", training,
     on_whole<annotate_training>},
    {"shard-training-state", "where asked for, state, gradients and parameters are cut over the axis data (ZeRO)",
     training, [](Compilation& c, int64_t) { return shard_training_state(*c.whole, c.training); }},
    // After partial sums are known: what is still a part of a sum is reduced where it is whole.
    {"sequence-parallel", "where asked for, what is whole between products is cut along the sequence", always,
     on_whole<sequence_parallel>},
    // After partial sums are known: those that are partial alike are added up before they are reduced.
    {"lower-sums", "sums of many become binary adds, partial ones first", training,
     [](Compilation& c, int64_t) { return lower_sums(*c.whole); }},
    {"round-training-products", "what round-products does, in a training step, whose parameters stay float32", training,
     on_whole<round_products>, sweeps},
    // Before the split: what is computed again is reduced and gathered again, and compared as all else is.
    {"recompute", "where asked for, layers keep only their input, and the backward pass computes the rest again",
     training,
     [](Compilation& c, int64_t) { return c.training.recompute ? recompute(*c.whole) : llvm::Error::success(); }},
    {"split", "local shapes, and collectives where data must travel", always, make_spmd, sweeps | makes_graph},
    // On the SPMD graph, so that all ranks combine alike.
    {"combine-all-reduces", "small all-reduces over the same axes become one", always,
     [](Compilation& c, int64_t) { return combine_all_reduces(*c.spmd, c.passes); }, counts | on_spmd},
    // On the SPMD graph, too: collectives of an update move alike on all ranks.
    {"hasten-updates",
     "a parameter's update stands behind the last reader of its old value, so that gradients go early", training,
     [](Compilation& c, int64_t) { return hasten_updates(*c.spmd); }, on_spmd},
    {"prefetch", "what is gathered before its use (ZeRO 3) is gathered one ahead", training,
     [](Compilation& c, int64_t) { return prefetch(*c.spmd); }, on_spmd},
    // From here on no collective may be removed or moved on one rank alone.
    {"materialise", "one graph per rank: every extent a number or a named dim", always, make_rank,
     per_rank | on_spmd | makes_graph},
    // After each extent is a number, or the part of a named one that this rank has.
    {"sum-extents", "where a rank needs to know the whole of a named extent, the ranks' parts are added up", always,
     [](Compilation& c, int64_t rank) { return sum_extents(*c.ranks[size_t(rank)]); }, per_rank | on_spmd},
};
}  // namespace

llvm::ArrayRef<Stage> pipeline() { return stages; }
const Stage* find_stage(llvm::StringRef name) {
  const auto* at = llvm::find_if(stages, [&](const Stage& s) { return s.name == name; });
  return at == std::end(stages) ? nullptr : at;
}
}  // namespace optp
