// The passes that make a training step of an annotated inference graph; pipeline.h has them in order.
#pragma once
#include <optional>

#include "passes/passes.h"

namespace optp {

class Formula;

// Names and options are those of torch.optim; what is not given has PyTorch's default for that optimizer.
struct OptimizerOptions {
  std::string name = "adam";  // of optimizers.h
  std::optional<double> momentum, weight_decay, beta1, beta2, epsilon, alpha;
  bool nesterov = false, centered = false;
};
OptimizerOptions with_defaults(OptimizerOptions options);  // every number given
double default_learning_rate(llvm::StringRef optimizer);

struct TrainingOptions {
  std::optional<double> learning_rate;  // an input of the step; the optimizer's default where not given
  OptimizerOptions optimizer;
  double max_gradient_norm = 0;                // 0: gradients are not clipped
  int64_t accumulate = 1;                      // micro-batches in a step
  std::vector<std::string> trainable, freeze;  // name patterns; freeze wins
  std::vector<std::string> no_decay;           // name patterns of parameters that weight decay leaves out
  int64_t zero = 0;                            // 1 to 3: what is cut over the mesh axis data (shard_training_state)
  int64_t loss_chunks = 0;                     // of the sequence, in which logits and loss are computed; 0: whole
  bool recompute = false;                      // layers are computed again in the backward pass
};
// The first number that is none an optimizer can take: lr, momentum … below 0, infinite or not a number.
struct OutsideDomain {
  const char *flag, *member;    // "--eps", and "eps" of plans and checkpoints
  std::string expected, found;  // "a number from 0 to 1", "2"
};
std::optional<OutsideDomain> outside_domain(const TrainingOptions& options);
// Usage errors: an optimizer or a number of it that there is not.
llvm::Error check_settings(const TrainingOptions& options);
// The parameters that weight decay leaves out. Of all of a graph, since a whole name of one means that one alone.
llvm::DenseSet<const Value*> without_decay(const Graph& graph, const TrainingOptions& options);

// Which parameters are trained. Errors: a pattern that matches no parameter, nothing left to train.
llvm::Error choose_trained(Graph& graph, const TrainingOptions& options);
// Half-precision parameters become float32 masters; the model still computes with their half-precision values.
llvm::Error widen_masters(Graph& graph);

// What training minimises, and the gradient it starts from.
struct Loss {
  Value* loss;  // float32, a scalar: the mean over counted labels
  Value* logits;
  Value* dlogits;  // of the loss, or of the total
  Value* total;    // the sum over counted labels
  Value* count;    // of them, float32
};
// What a step names its inputs and outputs, beside the model's own.
constexpr const char *labels_name = "labels", *learning_rate_name = "learning_rate", *loss_name = "loss",
                     *step_name = "step";  // input: how many steps are done
// A label of this value does not count, as with torch.nn.functional.cross_entropy.
constexpr int64_t ignored_label = -100;
// The input of token ids, [batch, sequence]: "input_ids", or the first that chooses rows of a table; null where none
// is.
const Value* find_ids(const Graph& graph);
// The output that is trained on: "logits", or the first [batch, sequence, vocabulary] beside an input of ids; null
// where none is.
Value* find_logits(const Graph& graph);
// A divisor for gradients where no label may count.
Value* at_least_one(Formula& f, Value* count);
// Adds the input "labels" and the mean cross-entropy of the logits with them, shifted by one. `undivided`: the gradient
// is that of the total. Errors: no output [b, s, v].
llvm::Expected<Loss> build_loss(Graph& graph, bool undivided);

// Adds the gradient of every trained parameter, given that of one value; in the order of the parameters.
struct ParameterGradient {
  Value* parameter;
  Value* gradient;
};
llvm::Expected<std::vector<ParameterGradient>> differentiate(Graph& graph, Value& from, Value& gradient);

// Sums over micro-batches: undivided gradients, total and count of the loss are added to what the inputs
// NAME.accumulated hold, and loss and gradients become what they are divided by the count of all. A step of several
// micro-batches takes the updates of kind "accumulated" after each but the last, the others after the last, when sums
// begin with zero again.
llvm::Error accumulate_micro_batches(Graph& graph, Loss& loss, llvm::MutableArrayRef<ParameterGradient> gradients);

// Loss and gradients become the graph's outputs, instead of what inference gives; there are no caches.
void set_training_outputs(Graph& graph, const Loss& loss, llvm::ArrayRef<ParameterGradient> gradients);

// Adds state, the next parameters and the graph's updates.
llvm::Error add_optimizer(Graph& graph, llvm::ArrayRef<ParameterGradient> gradients, const TrainingOptions& options);

// Shardings of all that has none yet: by the classes of what has, which stays as it is.
llvm::Error annotate_training(Graph& graph, const PassOptions& options);

// What belongs to a trained parameter in a training step, itself included: values of its dims.
struct OfParameter {
  enum class Kind {
    parameter,
    gradient,   // also what it is the sum of, or is summed up in over micro-batches
    optimizer,  // state, and what the next values are computed of
  } kind;
  Value* value;
  Value* parameter;
};
std::vector<OfParameter> parameter_groups(const Graph& graph);

// ZeRO (Rajbhandari et al., 2020, arXiv:1910.02054, section 5). The devices along the mesh axis data would keep the
// same optimizer state: level 1 cuts it over them, 2 gradients, too, and 3 parameters. Of an annotated training step.
// Errors: no such axis of several devices.
llvm::Error shard_training_state(Graph& graph, const TrainingOptions& options);

// Logits, loss and what is made of their gradient are computed in `chunks` stretches of the sequence, one after the
// other. Of a training step whose shardings are not decided. Errors: logits of tokens that depend on each other.
llvm::Error chunk_loss(Graph& graph, Value& logits, int64_t chunks);

// Layers keep only their input for the backward pass, which computes the rest again. Of a training step; values that
// are computed again have the shardings of those that they are. Errors: no layers are found.
llvm::Error recompute(Graph& graph);

}  // namespace optp
