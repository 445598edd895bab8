// A plan tells all that its job was asked for: made again from it, the plan is what the same options make.
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
// What depends on whether rank graphs were written is left out, and peaks of what a machine's kernels take.
std::string without_files(llvm::json::Value plan) {
  llvm::json::Object& top = *plan.getAsObject();
  top.erase("weights");
  for (llvm::json::Value& device : *top.getArray("devices")) device.getAsObject()->erase("activation_peak_bytes");
  return llvm::formatv("{0:2}", plan).str();
}
llvm::json::Value json_of(const std::string& text) {
  auto json = llvm::json::parse(text);
  if (json) return std::move(*json);
  FAIL(text);
  std::abort();
}
}  // namespace

TEST_CASE("inspect --devices shows what partition makes with the options that the plan was made with") {
  const Sandbox box;
  const std::string opt = export_of("opt-tiny") + "/model.onnx", past = export_of("opt-tiny-past") + "/model.onnx";
  write_text(box / "constraints.txt", "layers.0 = replicate\nop:Softmax [_, _, _, _]\n");
  write_text(box / "tp.json", R"({"layers.*.fc1": "colwise", "layers.*.fc2": "rowwise", "none.*": "colwise"})");
  const std::pair<std::string, Words> jobs[] = {
      {opt, {}},
      {opt, {"--sharding", "constraints.txt"}},
      {opt, {"--tp-plan", "tp.json", "--sharding", "constraints.txt"}},
      {opt, {"--sharding", "constraints.txt", "--train", "--freeze", "*.bias", "--optimizer", "sgd"}},
      {opt, {"--train", "--trainable", "*.fc1.*"}},
      {opt, {"--no-tie", "--tie", "*embed_tokens*"}},
      {opt, {"--untie", "*", "--keep-shared"}},
      {past, {"--kv-cache", "32"}},
      {past, {"--compute", "bf16", "--outputs", "sharded"}},
  };
  for (const auto& [model, options] : jobs) {
    std::string words;
    for (const std::string& word : options) words += " " + word;
    CAPTURE(words);
    const auto partition = [&](const char* devices, const char* folder) {
      const Result r =
          box.run(Words{model, "--devices", devices, "--plan-only", "--overwrite", "-o", folder} + options);
      CAPTURE(r.err);
      REQUIRE(r.code == 0);
    };
    partition("2", "two");
    partition("3", "three");
    const Result again = box.run({"inspect", "two", "--model", model, "--devices", "3", "--json"});
    CAPTURE(again.err);
    REQUIRE(again.code == 0);
    CHECK(without_files(json_of(again.out)) == without_files(json_of(contents(box / "three/plan.json"))));
  }
}

TEST_CASE("inspect --what-if keeps a plan's own constraints, and a later one counts") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  write_text(box / "constraints.txt", "layers.0.fc1 = replicate\n");
  REQUIRE(box.run({model, "--sharding", "constraints.txt", "--plan-only", "-o", "out"}).code == 0);
  const Result same = box.run({"inspect", "out", "--model", model, "--what-if", "layers.0.fc1.weight=[_, _]"});
  CHECK(same.out == "already sharded like this; nothing changes\n");
  const Result cut = box.run({"inspect", "out", "--model", model, "--what-if", "layers.0.fc1=colwise"});
  CHECK(cut.code == 0);
  CHECK(cut.out.find("layers.0.fc1.weight") != std::string::npos);
}
