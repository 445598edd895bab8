// export: the weights of a checkpoint back in the model file that was trained, or as a safetensors file.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/replace_weights.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/plan/plan_json.h"
#include "tools/cli/command.h"
#include "tools/cli/progress.h"
#include "tools/cli/suggestions.h"
#include "tools/run/ports.h"
#include "tools/train/checkpoint.h"
#include "tools/train/safetensors.h"
#include "tools/train/tokens.h"

namespace optp {
namespace {
struct ExportVerbOptions {
  std::string checkpoint, model, plan, out;
  bool overwrite = false;
};

// Parameters as a safetensors file has them, each by the name that the model's source has for it. A matrix that the
// exporter renamed it had transposed, as the source's linear layers hold it. Other names of the same tensor are in the
// metadata, as safetensors' save_model has them.
class SourceTensors {
 public:
  explicit SourceTensors(int64_t step) : metadata_{{"format", "pt"}, {"step", std::to_string(step)}} {}

  llvm::Error add(const CheckpointTensor& t, HostArray array, const Shard* shard) {
    const bool turns = !t.model_name.empty() && array.dims.size() == 2;
    turned_ += turns;
    if (turns) array = transposed(array);
    const std::string& name = t.model_name.empty() || arrays_.count(t.model_name) ? t.name : t.model_name;
    if (!arrays_.try_emplace(name, std::move(array)).second)
      return error(Code::bug).what("two parameters are called " + quoted(name));
    for (const std::string& alias : t.aliases)
      if (alias != name && !llvm::is_contained(t.transposed_aliases, alias)) metadata_.try_emplace(alias, name);
    if (!shard || shard->is_whole()) return llvm::Error::success();
    Shard held = *shard;
    if (turns) std::swap(held.whole[0], held.whole[1]), std::swap(held.dims[0], held.dims[1]);
    metadata_["shard:" + name] = to_string(held);
    return llvm::Error::success();
  }
  llvm::Error write(llvm::function_ref<llvm::Error(llvm::ArrayRef<llvm::ArrayRef<char>>)> to) const {
    return write_safetensors(arrays_, metadata_, to);
  }
  void say(const std::string& file, const std::string& more) const {
    llvm::outs() << file << ": weights after step " << metadata_.at("step") << ": " << arrays_.size()
                 << " tensors in float32, " << turned_ << " of them transposed to the layout of the model's source"
                 << more << "\n";
  }

 private:
  HostArrays arrays_;
  Metadata metadata_;
  size_t turned_ = 0;
};

// A checkpoint holds what was trained.
std::string what_is_left_out(const RunRecord& run) {
  return run.freeze.empty() && run.trainable.empty()
             ? ""
             : "; parameters that were not trained are the model's, and left out";
}

llvm::Error export_safetensors(const Checkpoint& checkpoint, const std::string& out) {
  SourceTensors tensors(checkpoint.run().step);
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (t.kind.of != UpdateKind::parameter) continue;
    auto whole = checkpoint.whole(t);
    if (!whole) return whole.takeError();
    if (auto e = tensors.add(t, std::move(*whole), nullptr)) return e;
  }
  if (auto e = tensors.write([&](auto pieces) { return write_file_atomically(out, pieces); })) return e;
  tensors.say(out, what_is_left_out(checkpoint.run()));
  return llvm::Error::success();
}

// What a rank of the plan holds of the checkpoint's parameters, whatever devices they were trained on.
llvm::Expected<SourceTensors> tensors_of_rank(const Checkpoint& checkpoint, const Plan& plan, size_t rank) {
  SourceTensors out(checkpoint.run().step);
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (t.kind.of != UpdateKind::parameter) continue;
    auto shard = data_shard(plan, t.name, rank);
    if (!shard) return shard.takeError();
    auto whole = checkpoint.whole(t);
    if (!whole) return whole.takeError();
    if (shard->whole != llvm::ArrayRef<int64_t>(whole->dims))
      return error(Code::shape_mismatch)
          .in_file("plan.json")
          .tensor("parameter", t.name)
          .expected(to_string(Dims(whole->dims.begin(), whole->dims.end())) + ", as in the checkpoint")
          .found(to_string(Dims(shard->whole.begin(), shard->whole.end())));
    if (auto e = out.add(t, take(*shard, *whole), &*shard)) return e;
  }
  return out;
}

llvm::Error export_ranks(const Checkpoint& checkpoint, const ExportVerbOptions& o) {
  auto plan = read_plan(o.plan);
  if (!plan) return plan.takeError();
  OutputOptions options{.overwrite = o.overwrite};
  for (const std::string& file : {o.checkpoint + "/checkpoint.json", o.plan + "/plan.json"}) {
    auto input = open_input_file(file);
    if (!input) return input.takeError();
    options.inputs.push_back((*input)->id());
  }
  auto out = OutputTransaction::begin(o.out, options);
  if (!out) return out.takeError();
  for (size_t rank = 0; rank < size_t(plan->mesh.devices()); ++rank) {
    auto tensors = tensors_of_rank(checkpoint, *plan, rank);
    if (!tensors) return within(file_place(o.plan), tensors.takeError());
    auto file = out->create("rank" + std::to_string(rank) + ".safetensors");
    if (!file) return file.takeError();
    auto written = tensors->write([&](auto pieces) -> llvm::Error {
      for (llvm::ArrayRef<char> piece : pieces)
        if (auto e = (*file)->write(piece)) return e;
      return (*file)->finish();
    });
    if (written) return written;
  }
  if (auto e = out->commit()) return e;
  llvm::outs() << o.out << ": weights after step " << checkpoint.run().step << ", a file for each of "
               << plan->mesh.devices() << " devices" << what_is_left_out(checkpoint.run()) << "\n";
  return llvm::Error::success();
}

llvm::Error export_model(const ExportVerbOptions& o) {
  std::optional<Progress> progress(std::in_place, "writing " + o.out);
  auto checkpoint = Checkpoint::open(o.checkpoint);
  if (!checkpoint) return checkpoint.takeError();
  const bool as_safetensors = llvm::StringRef(o.out).ends_with(".safetensors");
  if (as_safetensors || !o.plan.empty()) progress.reset();
  if (!o.plan.empty()) return export_ranks(*checkpoint, o);
  if (as_safetensors) return export_safetensors(*checkpoint, o.out);
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
    if (t.kind.of == UpdateKind::parameter)
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
  CLI::App* c = app.add_subcommand("export",
                                   "write a checkpoint's trained weights back into the model they came from, or as "
                                   "safetensors: one file, or with --plan one for each device");
  c->add_option("checkpoint", o->checkpoint, "folder written by train")->required()->type_name("DIR");
  c->add_option("-o,--output", o->out, "file to write: an ONNX model, or NAME.safetensors, the parameters alone")
      ->required()
      ->type_name("FILE");
  c->add_option("--plan", o->plan,
                "folder written by partition: write rank<r>.safetensors for each of its devices, with what that "
                "device holds, into the folder that -o names")
      ->type_name("DIR");
  also_called(c->add_flag("--overwrite", o->overwrite, "replace the folder whatever it holds"), {"force", "replace"});
  c->add_option("--model", o->model, "the model that was trained, if it is elsewhere now")->type_name("FILE");
  return {c, [o] { return export_model(*o); }};
}
}  // namespace optp
