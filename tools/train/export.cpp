// export: the weights of a checkpoint back in the model file that was trained, or as a safetensors file.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/replace_weights.h"
#include "llvm/Support/raw_ostream.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"
#include "tools/train/checkpoint.h"
#include "tools/train/safetensors.h"
#include "tools/train/tokens.h"

namespace optp {
namespace {
struct ExportVerbOptions {
  std::string checkpoint, model, out;
};

// Each parameter by the name that the model's source has for it. A matrix that the exporter renamed it had transposed,
// as the source's linear layers hold it. Other names of the same tensor are in the metadata, as safetensors' save_model
// has them.
llvm::Error export_safetensors(const Checkpoint& checkpoint, const std::string& out) {
  HostArrays arrays;
  std::map<std::string, std::string> metadata{{"format", "pt"}, {"step", std::to_string(checkpoint.run().step)}};
  size_t turned = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (t.kind != "parameter") continue;
    auto whole = checkpoint.whole(t);
    if (!whole) return whole.takeError();
    const bool turns = !t.model_name.empty() && whole->dims.size() == 2;
    turned += turns;
    HostArray array = turns ? transposed(*whole) : std::move(*whole);
    const std::string& name = t.model_name.empty() || arrays.count(t.model_name) ? t.name : t.model_name;
    if (!arrays.try_emplace(name, std::move(array)).second)
      return error(Code::bug).what("two parameters are called " + quoted(name));
    for (const std::string& alias : t.aliases)
      if (alias != name && !llvm::is_contained(t.transposed_aliases, alias)) metadata.try_emplace(alias, name);
  }
  const size_t count = arrays.size();
  if (auto e = write_safetensors(out, arrays, metadata)) return e;
  llvm::outs() << out << ": weights after step " << checkpoint.run().step << ": " << count << " tensors in float32, "
               << turned << " of them transposed to the layout of the model's source\n";
  return llvm::Error::success();
}

llvm::Error export_model(const ExportVerbOptions& o) {
  std::optional<Progress> progress(std::in_place, "writing " + o.out);
  auto checkpoint = Checkpoint::open(o.checkpoint);
  if (!checkpoint) return checkpoint.takeError();
  if (llvm::StringRef(o.out).ends_with(".safetensors")) {
    progress.reset();
    return export_safetensors(*checkpoint, o.out);
  }
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
  CLI::App* c = app.add_subcommand(
      "export", "write the trained weights of a checkpoint back into the model they came from, or as safetensors");
  c->add_option("checkpoint", o->checkpoint, "folder written by train")->required()->type_name("DIR");
  c->add_option("-o,--output", o->out, "file to write: an ONNX model, or NAME.safetensors, the parameters alone")
      ->required()
      ->type_name("FILE");
  c->add_option("--model", o->model, "the model that was trained, if it is elsewhere now")->type_name("FILE");
  return {c, [o] { return export_model(*o); }};
}
}  // namespace optp
