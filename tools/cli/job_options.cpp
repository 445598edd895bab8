#include "tools/cli/job_options.h"

#include "llvm/Support/raw_ostream.h"
#include "passes/optimizers.h"
#include "passes/plan/plan.h"
#include "passes/strategy.h"
#include "tools/cli/progress.h"
#include "tools/cli/refused.h"
#include "tools/cli/suggestions.h"

namespace optp {
void report_progress(JobOptions& o) {
  struct Shown {
    std::string what;
    std::optional<Progress> line;
  };
  auto shown = std::make_shared<Shown>();
  o.progress = [shown](const std::string& what, int64_t done, int64_t total) {
    if (what != shown->what) {
      shown->line.reset();
      if (!what.empty()) shown->line.emplace(what, total);
      shown->what = what;
    }
    if (shown->line) shown->line->set(done);
  };
  o.watch.print = [](llvm::StringRef text) {
    const auto held = Progress::hold();
    llvm::errs() << text;
  };
}

const std::initializer_list<const char*> device_words{"tensor-parallel",
                                                      "tensor-parallel-size",
                                                      "tensor-model-parallel-size",
                                                      "tp-size",
                                                      "tp-degree",
                                                      "num-devices",
                                                      "gpus",
                                                      "num-gpus",
                                                      "world-size",
                                                      "nproc-per-node",
                                                      "ranks"};

void add_dims(CLI::App& command, AskedDims& dims, const char* help) {
  using Texts = std::vector<std::string>;
  also_called(command.add_option_function<Texts>(
                  "--dim", [&](const Texts& texts) { dims.values = value_or_refuse(parse_dims(texts)); }, help),
              {"dims", "dimension", "dim-param", "override-dim", "free-dim-override", "batch", "batch-size", "sequence",
               "seq-len", "seq-length", "sequence-length", "max-seq-len", "max-length", "context-length"});
  also_called(
      command
          .add_option_function<Texts>(
              "--input-shapes", [&](const Texts& texts) { dims.shapes = value_or_refuse(parse_input_shapes(texts)); },
              "NAME:1x128: the named dims of an input's shape (several between commas, or repeatable)")
          ->allow_extra_args(false),
      {"shapes", "shape", "input-shape", "overwrite-input-shape", "min-shapes"});
}

namespace {
void add_watch_options(CLI::App& command, WatchOptions& o) {
  command.add_option("--print-before", o.print_before, "PASS: print the graph before it to stderr (repeatable)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group("For developers");
  command.add_option("--print-after", o.print_after, "PASS: print the graph after it to stderr (repeatable)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group("For developers");
  command.add_option("--stop-after", o.stop_after, "PASS: stop after it")->group("For developers");
  command.add_option("--dump-dir", o.dump_dir, "folder for the graph after each pass, as text")
      ->type_name("DIR")
      ->group("For developers");
  command.add_option("--rewrite-limit", o.rewrite_limit, "PASS:N: the pass stops after N rewrites")
      ->group("For developers");
  command.add_flag("--time-passes", o.time, "how long each pass took, on stderr")->group("For developers");
}
}  // namespace

CLI::Option* add_mesh_option(CLI::App& command, std::optional<Mesh>& mesh, const char* help) {
  return command.add_option_function<std::string>(
      "--mesh", [&mesh](const std::string& text) { mesh = value_or_refuse(parse_mesh(text)); }, help);
}

namespace {
llvm::Expected<OutputLayout> parse_outputs(llvm::StringRef text) {
  for (OutputLayout layout : {OutputLayout::whole, OutputLayout::sharded})
    if (to_string(layout) == text) return layout;
  return error(Code::bad_value).flag("--outputs", quoted(text)).expected("whole or sharded");
}
llvm::Expected<DType> parse_compute(llvm::StringRef text) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    if (to_string(dtype) == text) return dtype;
  return error(Code::bad_value).flag("--compute", quoted(text)).expected("f32, bf16 or f16");
}
}  // namespace

void add_job_options(CLI::App& command, JobOptions& o) {
  std::string strategies;
  for (const Strategy* s : all_strategies())
    if (!s->axis) strategies += (strategies.empty() ? "" : "|") + std::string(s->name);
  report_progress(o);
  command.add_option("model", o.model, "ONNX file, or a folder that holds one")->required()->type_name("FILE");
  also_called(command.add_option("--devices,--tp", o.devices,
                                 "number of devices, all along the mesh axis tensor; 2 where no --mesh is given"),
              device_words);
  also_called(
      add_mesh_option(command, o.mesh,
                      "named axes, e.g. data=2,tensor=4: data splits the batch, the other axis is the strategy's"),
      {"device-mesh", "mesh-shape", "topology", "data-parallel", "dp"});
  also_called(command.add_option("--strategy", o.strategy, "what is split; see docs/sharding-your-model.md")
                  ->type_name(strategies)
                  ->capture_default_str(),
              {"scheme", "method", "parallel-mode", "plan"});
  also_called(command.add_option("--sharding", o.sharding_file, "file of constraints: PATTERN SHARDING, one per line")
                  ->type_name("FILE"),
              {"constraints", "sharding-spec", "specs"});
  also_called(command
                  .add_option("--tp-plan", o.tp_plan,
                              "a Hugging Face tp_plan: JSON object from modules to words such as colwise")
                  ->type_name("FILE"),
              {"base-model-tp-plan"});
  add_dims(command, o.dims);
  add_watch_options(command, o.watch);
  also_called(command
                  .add_option_function<std::string>(
                      "--compute", [&o](const std::string& text) { o.compute = value_or_refuse(parse_compute(text)); },
                      "precision of products' operands, summed up in float32, and of weights as stored")
                  ->type_name("f32|bf16|f16")
                  ->default_str("f32"),
              {"dtype", "precision", "bf16", "fp16", "torch-dtype", "half"});
  command.add_flag("--no-tie", o.untied, "keep weights with equal contents apart, except those that --tie names");
  command.add_option("--tie", o.tie, "PATTERN of weights to tie where their contents are equal (repeatable)");
  command.add_option("--untie", o.untie, "PATTERN of weights to keep apart (repeatable)");
  also_called(command.add_flag("--sequence-parallel", o.sequence_parallel,
                               "cut along the sequence norms, residual sums and what else is whole between products"),
              {"sp", "megatron-sp"});
  command.add_flag("--keep-shared", o.keep_shared,
                   "keep norms and biases that the exporter merged as one shared parameter");
}

void add_outputs_option(CLI::App& command, JobOptions& o) {
  command
      .add_option_function<std::string>(
          "--outputs", [&o](const std::string& text) { o.outputs = value_or_refuse(parse_outputs(text)); },
          "how each device gives outputs: whole, or its part of them")
      ->type_name("whole|sharded")
      ->default_str("whole");
}

void add_kv_cache_option(CLI::App& command, JobOptions& o) {
  also_called(command
                  .add_option_function<int64_t>(
                      "--kv-cache", [&o](int64_t tokens) { o.kv_cache = Dim(at_least_one("--kv-cache", tokens)); },
                      "make a decoder of the model, with caches of keys and values for so many tokens")
                  ->type_name("TOKENS"),
              {"use-cache", "use-past", "max-cache-len", "past", "with-past"});
}

namespace {
void add_optimizer_options(CLI::App& command, JobOptions& o) {
  TrainingOptions& t = o.training;
  std::string optimizers;
  for (const OptimizerDef& def : all_optimizers()) optimizers += (optimizers.empty() ? "" : "|") + def.name.str();
  also_called(command.add_option("--optimizer", t.optimizer.name, optimizer_names() + ", as torch.optim defines them")
                  ->type_name(optimizers)
                  ->capture_default_str(),
              {"optim", "solver"});
  also_called(command.add_option("--lr", t.learning_rate, "learning rate; default 0.01 for rmsprop, else 0.001"),
              {"learning-rate", "step-size"});
  command.add_option("--momentum", t.optimizer.momentum, "sgd and rmsprop: momentum");
  command.add_flag("--nesterov", t.optimizer.nesterov, "sgd with Nesterov's momentum");
  command.add_option("--weight-decay", t.optimizer.weight_decay, "default 0.01 for adamw, else 0");
  command.add_option("--betas", o.betas, "adam and adamw: B1,B2")->delimiter(',')->expected(2);
  also_called(command.add_option("--eps", t.optimizer.epsilon, "adam, adamw and rmsprop: added to the denominator"),
              {"epsilon", "adam-epsilon"});
  command.add_option("--alpha", t.optimizer.alpha, "rmsprop: smoothing");
  command.add_flag("--centered", t.optimizer.centered, "rmsprop: divide by the standard deviation of the gradient");
  also_called(command
                  .add_option("--accumulate", t.accumulate,
                              "micro-batches per step; their gradients are summed and divided once")
                  ->check(CLI::Range(int64_t(1), int64_t(1) << 20).description("")),
              {"gradient-accumulation-steps", "grad-accum", "micro-batches"});
  also_called(
      command.add_option("--max-grad-norm", t.max_gradient_norm, "clip gradients to this global norm; 0: not at all"),
      {"clip", "clip-grad", "clip-grad-norm", "grad-clip", "gradient-clipping"});
  also_called(
      command
          .add_option("--zero", t.zero,
                      "the devices along the mesh axis data each keep a part of 1: the optimizer state; 2: gradients, "
                      "too; 3: parameters, too (ZeRO)")
          ->type_name("0|1|2|3")
          ->check(CLI::Range(0, 3).description("")),
      {"zero-stage", "fsdp", "sharded-optimizer"});
  also_called(command
                  .add_option("--loss-chunks", t.loss_chunks,
                              "compute logits, loss and their gradients in so many chunks of the sequence, one after "
                              "the other: logits never stand whole")
                  ->check(CLI::Range(int64_t(1), int64_t(1) << 10).description("")),
              {"num-output-chunks", "chunked-loss", "chunked-cross-entropy"});
  also_called(command.add_flag("--recompute", t.recompute,
                               "keep only each layer's input for the backward pass, and compute the rest again"),
              {"gradient-checkpointing", "activation-checkpointing", "checkpoint-activations", "remat"});
  command
      .add_option("--no-decay", t.no_decay,
                  "PATTERN of parameters that weight decay skips, such as biases and norms (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--freeze", t.freeze, "PATTERN of parameters that are not trained (repeatable)");
}
}  // namespace

void add_training_options(CLI::App& command, JobOptions& o, CLI::Option* train) {
  const std::vector<CLI::Option*> before = command.get_options();
  add_optimizer_options(command, o);
  if (train)
    for (CLI::Option* option : command.get_options())
      if (!llvm::is_contained(before, option)) option->needs(train);
  // Without training, too, it makes a parameter of a constant.
  command.add_option("--trainable", o.training.trainable,
                     "PATTERN: train these alone; a constant's name makes it a parameter (repeatable)");
}

}  // namespace optp
