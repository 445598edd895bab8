// build: an OPT of any size as an ONNX file, for users with no export at hand.
#include "frontend/models/config.h"
#include "frontend/models/opt.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"

namespace optp {
namespace {
struct BuildCommandOptions {
  std::string preset, out;
  int64_t layers = 0, hidden = 0, heads = 0, ffn = 0, vocab = 0;
  uint64_t seed = 1;
  bool untied = false, no_weights = false;
};
llvm::Error build(const BuildCommandOptions& o) {
  OptOverrides overrides;
  auto set = [](std::optional<int64_t>& to, int64_t value) {
    if (value != 0) to = value;
  };
  set(overrides.layers, o.layers), set(overrides.hidden, o.hidden), set(overrides.heads, o.heads),
      set(overrides.ffn, o.ffn), set(overrides.vocab, o.vocab);
  overrides.untied = o.untied;
  auto config = configure(o.preset, overrides);
  if (!config) return config.takeError();
  {
    Progress progress("drawing weights", 4 * parameter_count(*config), Progress::Unit::bytes);
    const BuildOptions options{
        .seed = o.seed, .with_weights = !o.no_weights, .progress = [&](int64_t done, int64_t) { progress.set(done); }};
    if (auto e = build_model(*config, o.out, options)) return e;
  }
  llvm::outs() << o.out << "  " << parameter_count(*config) << " parameters"
               << (o.no_weights ? ", without weights" : "") << "\n";
  return llvm::Error::success();
}
}  // namespace

Command add_build(CLI::App& app) {
  auto o = std::make_shared<BuildCommandOptions>();
  CLI::App* c =
      app.add_subcommand("build", "write an OPT of a preset's size (opt-125m … opt-175b, origin-125m) as an ONNX file");
  c->add_option("preset", o->preset, "the sizes, but for those that flags give")
      ->required()
      ->type_name("opt-125m|opt-350m|opt-1.3b|opt-2.7b|opt-6.7b|opt-13b|opt-30b|opt-66b|opt-175b|origin-125m");
  c->add_option("-o,--output", o->out, "ONNX file to write")->required()->type_name("FILE");
  c->add_option("--layers", o->layers, "number of layers");
  c->add_option("--hidden", o->hidden, "hidden size");
  c->add_option("--heads", o->heads, "attention heads");
  c->add_option("--ffn", o->ffn, "inner size of the MLP");
  c->add_option("--vocab", o->vocab, "vocabulary");
  c->add_option("--seed", o->seed, "seed for the weights")->capture_default_str();
  c->add_flag("--untied", o->untied, "untie the output head");
  c->add_flag("--no-weights", o->no_weights, "structure only: no weights file");
  return {c, [o] { return build(*o); }};
}
}  // namespace optp
