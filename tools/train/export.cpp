// export: the weights of a checkpoint back in the model file that was trained.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/replace_weights.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"
#include "tools/train/checkpoint.h"
#include "tools/train/tokens.h"

namespace optp {
namespace {
struct ExportVerbOptions {
  std::string checkpoint, model, out;
};

llvm::Error export_model(const ExportVerbOptions& o) {
  std::optional<Progress> progress(std::in_place, "writing " + o.out);
  auto checkpoint = Checkpoint::open(o.checkpoint);
  if (!checkpoint) return checkpoint.takeError();
  const RunRecord& run = checkpoint->run();
  const std::string model = o.model.empty() ? run.model_path : o.model;
  auto file = open_input_file(model);
  if (!file)
    return o.model.empty() ? within(file_place(o.checkpoint),
                                    within(words("the model it was trained from; --model FILE says where it is now"),
                                           file.takeError()))
                           : file.takeError();
  if (const std::string found = blake3_of((*file)->bytes()); found != run.model_blake3)
    return error(Code::hash_mismatch)
        .in_file(model)
        .what("BLAKE3")
        .expected(run.model_blake3 + ", the model that " + o.checkpoint + " was trained from")
        .found(found);
  file->reset();

  std::vector<NewWeight> weights;
  for (const CheckpointTensor& t : checkpoint->tensors())
    if (t.kind == "parameter")
      weights.push_back(
          {t.name, t.aliases, t.transposed_aliases, [&checkpoint, &t] { return checkpoint->whole(t); }, t.model_name});
  auto done = replace_weights(model, weights, o.out);
  if (!done) return done.takeError();
  progress.reset();
  llvm::outs() << o.out << ": weights after step " << run.step << ": " << done->replaced.size()
               << " initializers replaced, " << done->added.size() << " added"
               << (done->external ? "; the large ones are in " + o.out + ".data" : "") << "\n";
  return llvm::Error::success();
}
}  // namespace

Command add_export(CLI::App& app) {
  auto o = std::make_shared<ExportVerbOptions>();
  CLI::App* c =
      app.add_subcommand("export", "write the trained weights of a checkpoint back into the model they came from");
  c->add_option("checkpoint", o->checkpoint, "folder written by train")->required()->type_name("DIR");
  c->add_option("-o,--output", o->out, "ONNX file to write")->required()->type_name("FILE");
  c->add_option("--model", o->model, "the model that was trained, if it is elsewhere now")->type_name("FILE");
  return {c, [o] { return export_model(*o); }};
}
}  // namespace optp
