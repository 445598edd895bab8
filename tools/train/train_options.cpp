#include "tools/train/train_options.h"

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
llvm::Error at_least(const char* flag, std::optional<int64_t> n, int64_t least) {
  if (n && *n < least) return error(Code::bad_value).flag(flag, *n).expected("at least " + llvm::Twine(least));
  return llvm::Error::success();
}
}  // namespace

llvm::Error check(const TrainOptions& o) {
  const bool both = !o.data.empty() && !o.inputs_dir.empty(), neither = o.data.empty() && o.inputs_dir.empty();
  if (both || (neither && o.resume.empty()))
    return error(Code::missing)
        .flag("--data", "FILE or --inputs-dir DIR")
        .expected("one of them")
        .found(neither ? "none" : "both");
  if (!o.inputs_dir.empty() && o.given("--token-type"))
    return error(Code::bad_value).flag("--token-type").what("needs --data");
  if (o.save.empty() && o.resume.empty())
    return error(Code::missing).flag("--save", "DIR").expected("a folder for the checkpoints").found("none");
  for (auto [flag, n, least] : {std::tuple{"--batch", o.batch, 1},
                                {"--sequence", o.sequence, 2},
                                {"--epochs", o.epochs, 1},
                                {"--warmup", o.warmup, 0}})
    if (auto e = at_least(flag, n, least)) return e;
  for (auto [flag, n] :
       {std::pair{"--max-steps", o.max_steps}, {"--save-every", o.save_every}, {"--threads-per-device", o.threads}})
    if (o.given(flag))
      if (auto e = at_least(flag, n, 1)) return e;
  if (o.rewind && o.resume.empty()) return error(Code::bad_value).flag("--rewind").what("needs --resume");
  return llvm::Error::success();
}

namespace {
std::string list_of(llvm::ArrayRef<std::string> patterns) {
  std::string out;
  for (const std::string& p : patterns) out += (out.empty() ? "" : ", ") + quoted(p);
  return out.empty() ? "none" : out;
}
}  // namespace

llvm::Error take_from(const Checkpoint& from, const TrainOptions& o, JobOptions& job) {
  const RunRecord& run = from.run();
  TrainingOptions& t = job.training;
  OptimizerOptions asked = run.optimizer;
  if (o.given("--optimizer")) asked.name = t.optimizer.name;
  if (o.given("--betas")) asked.beta1 = job.betas[0], asked.beta2 = job.betas[1];
  for (auto [flag, member] : {std::pair{"--momentum", &OptimizerOptions::momentum},
                              {"--weight-decay", &OptimizerOptions::weight_decay},
                              {"--eps", &OptimizerOptions::epsilon},
                              {"--alpha", &OptimizerOptions::alpha}})
    if (o.given(flag)) asked.*member = t.optimizer.*member;
  if (o.given("--nesterov")) asked.nesterov = true;
  if (o.given("--centered")) asked.centered = true;
  if (!same_optimizer(asked, run.optimizer))
    return error(Code::bad_checkpoint)
        .in_file(from.folder())
        .what("optimizer")
        .expected(describe(asked) + ", as the command line says")
        .found(describe(run.optimizer));
  if (o.given("--no-decay") && t.no_decay != run.no_decay)
    return error(Code::bad_checkpoint)
        .in_file(from.folder())
        .flag("--no-decay")
        .expected(list_of(t.no_decay) + ", as the command line says")
        .found(list_of(run.no_decay));
  t.optimizer = run.optimizer, t.no_decay = run.no_decay;
  job.betas.clear();
  if (!o.given("--lr")) t.learning_rate = run.learning_rate;
  if (!o.given("--accumulate")) t.accumulate = run.accumulate;
  if (!o.given("--max-grad-norm")) t.max_gradient_norm = run.max_gradient_norm;
  if (!o.given("--freeze")) t.freeze = run.freeze;
  if (!o.given("--trainable")) t.trainable = run.trainable;
  return llvm::Error::success();
}

DataSource source_of(const TrainOptions& o, const Checkpoint* from) {
  DataSource out{o.data, o.inputs_dir, o.token_type, /*is_remembered=*/false};
  if (!from) return out;
  const DataPosition& before = from->run().position;
  if (out.tokens.empty() && out.folders.empty()) {
    (before.length > 0 ? out.tokens : out.folders) = before.path;
    out.is_remembered = true;
  }
  if (!o.given("--token-type") && !before.token_type.empty()) out.token_type = before.token_type;
  return out;
}

}  // namespace optp
