// Names that people know: recovered from exports, shown beside the file's, and taken wherever a name is asked for.
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
std::string model(const char* name) { return export_of(name) + "/model.onnx"; }
size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
// What is wrapped for a terminal, as one line.
std::string unwrapped(const std::string& text) {
  std::string out;
  for (const char c : text)
    if (!llvm::isSpace(c))
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  return out;
}
llvm::json::Value plan_of(const Sandbox& box, const std::string& folder) {
  return llvm::cantFail(llvm::json::parse(contents(box / (folder + "/plan.json"))));
}
}  // namespace

TEST_CASE("no parameter of an export is left without the name that the model has for it") {
  // The names are PyTorch's; an exporter's own have a colon, or no dot.
  for (const char* name : {"opt-tiny", "opt-tiny-dynamo18", "opt-tiny-dynamo23", "opt-tiny-fresh", "opt-tiny-opset11",
                           "opt-tiny-bf16", "gpt2-tiny", "llama-tiny-dynamo", "neox-tiny", "bert-tiny", "opt350m-tiny",
                           "origin-tiny", "opt-125m-structure", "origin-125m-structure"}) {
    CAPTURE(name);
    const Sandbox box;
    REQUIRE(box.run({model(name), "--plan-only", "-o", "out"}).code == 0);
    const llvm::json::Value plan = plan_of(box, "out");
    for (const llvm::json::Value& p : *plan.getAsObject()->getArray("parameters")) {
      const llvm::StringRef own = *p.getAsObject()->getString("name"),
                            recovered = p.getAsObject()->getString("model_name").value_or(own);
      CAPTURE(own.str());
      CHECK(recovered.contains('.'));
      CHECK(!recovered.contains(':'));
      CHECK((recovered.ends_with(".weight") || recovered.ends_with(".bias")));
      CHECK(!recovered.contains("node_"));
    }
  }
}

TEST_CASE("a recovered name stands beside the file's in a plan's text, its tensors, causes, differences and page") {
  const Sandbox box;
  REQUIRE(box.run({model("opt-tiny"), "-o", "out"}).code == 0);
  const std::string file = "onnx::MatMul_363", own = "m.model.decoder.layers.0.self_attn.q_proj.weight";
  const std::string plan = box.run({"inspect", "out"}).out;
  CHECK(has(plan, "self_attn.{q,k,v}_proj.weight"));
  CHECK(!has(plan, "onnx::MatMul_*"));
  CHECK(has(plan, "8 have others in the file (--tensors)"));
  CHECK(has(box.run({"inspect", "out", "--tensors"}).out, file + " (" + own + ")  float32 [48, 48]"));
  const Result tensor = box.run({"inspect", "out", "--tensor", "layers.0.self_attn.q_proj.weight"});
  CHECK(tensor.out.rfind(file + "  float32 [48, 48]  [_, (tensor _)]\n  in the model " + own + "\n", 0) == 0);
  CHECK(has(box.run({"inspect", "out", "--why", "layers.0.self_attn.q_proj.weight"}).out, file + " (" + own + ")"));
  CHECK(has(box.run({"inspect", "out", "--why", "lm_head.weight"}).out, "embed_tokens.weight [tensor, _]"));
  REQUIRE(box.run({model("opt-tiny"), "--strategy", "origin", "-o", "other"}).code == 0);
  CHECK(has(box.run({"diff", "out", "other"}).out, file + " (" + own + ")"));
  CHECK(has(box.run({"diff", "out", "other", "--json"}).out, "\"model_name\": \"" + own + "\""));
  CHECK(has(contents(box / "out/plan.html"), own));
  // What the file calls it stays as it is in the ranks' graphs.
  CHECK(has(contents(box / "out/rank0/model.onnx"), file));
  CHECK(!has(contents(box / "out/rank0/model.onnx"), own));
}

TEST_CASE("with * all tensors that match are shown, and where one is asked for those that match are listed") {
  const Sandbox box;
  REQUIRE(box.run({model("opt-tiny"), "-o", "out"}).code == 0);
  CHECK(count(box.run({"inspect", "out", "--tensor", "layers.*.q_proj.weight"}).out, "[48, 48]  [_, (tensor _)]") == 2);
  CHECK(count(box.run({"inspect", "out", "--tensor", "layers.*.q_proj"}).out, "\n  because ") == 4);  // the biases, too
  const Result many = box.run({"inspect", "out", "--why", "q_proj.weight"});
  CHECK(many.code == 2);
  CHECK(many.line() ==
        "'q_proj.weight': expected one tensor, found 2: 'onnx::MatMul_363' "
        "(m.model.decoder.layers.0.self_attn.q_proj.weight), 'onnx::MatMul_378' "
        "(m.model.decoder.layers.1.self_attn.q_proj.weight); write more of the name");
  const Result none = box.run({"inspect", "out", "--tensor", "layers.0.self_attn.q_prj.weight"});
  CHECK(none.code == 66);
  CHECK(has(none.line(), "nearest is 'm.model.decoder.layers.0.self_attn.q_proj.weight'"));
}

TEST_CASE("a node's name means its results, a module's what it holds and makes") {
  const Sandbox box;
  REQUIRE(box.run({model("opt-tiny"), "-o", "out"}).code == 0);
  const std::string layer = "/m/decoder/layers.0/";
  for (const char* flag : {"--tensor", "--why"}) {
    CAPTURE(flag);
    const auto first = [&](const std::string& name) {
      const Result r = box.run({"inspect", "out", flag, name});
      CAPTURE(r.err);
      CHECK(r.code == 0);
      return r.out.substr(0, r.out.find_first_of(" \n"));
    };
    // The node's result has another name than the node, and so has no part of it.
    CHECK(first(layer + "self_attn/MatMul_1") == layer + "self_attn/Transpose_3_output_0");
    CHECK(first("layers.0.self_attn.MatMul_1") == layer + "self_attn/Transpose_3_output_0");
    CHECK(first("layers.0/activation_fn") == layer + "activation_fn/Relu_output_0");
    const Result module = box.run({"inspect", "out", flag, "layers.0.fc1"});
    CHECK(module.code == 2);
    CHECK(module.line() ==
          "'layers.0.fc1': expected one tensor, found 2: 'm.model.decoder.layers.0.fc1.weight', "
          "'m.model.decoder.layers.0.fc1.bias'; write more of the name");
  }
  // With a wildcard all that match, weights before others.
  CHECK(count(box.run({"inspect", "out", "--tensor", "layers.*.activation_fn"}).out, "\n  because ") == 2);
  CHECK(count(box.run({"inspect", "out", "--why", layer + "self_attn/MatMul*"}).out, "self_attn/Transpose_3") > 0);
  const Result near = box.run({"inspect", "out", "--why", "layers.0/self_attn/MatMull_1"});
  CHECK(near.code == 66);
  CHECK(has(near.line(), "nearest is '" + layer + "self_attn/MatMul_1'"));
  // Training's own nodes are named after the parameter that they change: that is the parameter.
  REQUIRE(box.run({model("opt-tiny"), "--train", "-o", "step"}).code == 0);
  CHECK(box.run({"inspect", "step", "--why", "m.model.decoder.layers.0.fc1.bias"}).code == 0);
}

TEST_CASE("what the README says of a legacy export's names: where each q_proj lies, and a layer kept whole") {
  const std::string readme = contents(OPTP_SOURCE "/README.md");
  for (const char* line :
       {"opt-partition inspect out --tensor 'layers.*.q_proj'\n", "echo 'layers.0 replicate' > shardings.txt\n",
        "opt-partition model.onnx --devices 4 --sharding shardings.txt -o whole\n"})
    CHECK(has(readme, line));
  const Sandbox box;
  fs::copy_file(model("opt-tiny"), box / "model.onnx");
  REQUIRE(box.run({"model.onnx", "--devices", "4", "-o", "out"}).code == 0);
  // The file calls the weights onnx::MatMul_…, their biases as PyTorch does.
  const std::string lies = box.run({"inspect", "out", "--tensor", "layers.*.q_proj"}).out;
  for (const char* layer : {"0", "1"}) {
    const std::string own = std::string("m.model.decoder.layers.") + layer + ".self_attn.q_proj.";
    CHECK(has(lies, "  in the model " + own + "weight\n"));
    CHECK(has(lies, own + "bias  float32 [48]  [(tensor _)]\n"));
  }
  CHECK(count(lies, "onnx::MatMul_") == 2);
  CHECK(count(lies, "\n  device 3  [48, 8] ") == 2);

  write_text(box / "shardings.txt", "layers.0 replicate\n");
  REQUIRE(box.run({"model.onnx", "--devices", "4", "--sharding", "shardings.txt", "-o", "whole"}).code == 0);
  const std::string then = box.run({"inspect", "whole", "--tensor", "layers.*.q_proj.weight"}).out;
  CHECK(count(then, "float32 [48, 48]  [_, _]\n  in the model m.model.decoder.layers.0.self_attn.q_proj.weight\n") ==
        1);
  CHECK(count(then,
              "float32 [48, 48]  [_, (tensor _)]\n  in the model "
              "m.model.decoder.layers.1.self_attn.q_proj.weight\n") == 1);
  // With all that it computes: nothing of the layer is summed over devices.
  const std::string diff = box.run({"diff", "out", "whole"}).out;
  CHECK(has(diff, "all_reduce             5 → 3  (−2)\n"));
  CHECK(box.run({"check", "model.onnx", "--devices", "4", "--sharding", "shardings.txt"}).code == 0);
}

TEST_CASE("a plan that nobody wrote: of a model, and of another number of devices") {
  const Sandbox box;
  fs::copy_file(model("opt-tiny"), box / "model.onnx");
  for (const char* devices : {"2", "3"})
    REQUIRE(box.run({"model.onnx", "--tp", devices, "--no-weights", "-o", std::string("out") + devices}).code == 0);
  const std::string two = box.run({"inspect", "out2"}).out, three = box.run({"inspect", "out3"}).out;
  CHECK(two != three);
  CHECK(box.run({"inspect", "out2", "--tp", "3"}).out == three);
  CHECK(box.run({"inspect", "out3", "--devices", "2"}).out == two);
  CHECK(box.run({"inspect", "model.onnx", "--tp", "3"}).out == three);
  CHECK(box.run({"inspect", "model.onnx"}).out == two);  // as partition takes two where nothing is said
  CHECK(box.run({"inspect", "model.onnx", "--tp", "2", "--dim", "batch=4"}).out ==
        box.run({"inspect", "out2", "--dim", "batch=4"}).out);
  CHECK(box.run({"inspect", "model.onnx", "--devices", "0"}).line() == "--devices 0: expected from 1 to 4096");
  // Of other axes the plan's own stay.
  REQUIRE(box.run({"model.onnx", "--mesh", "data=2,tensor=2", "-o", "mesh"}).code == 0);
  CHECK(has(box.run({"inspect", "mesh", "--devices", "6"}).out, "data=2 × tensor=3"));
  CHECK(box.run({"inspect", "mesh", "--devices", "3"}).line() ==
        "--devices 3: expected a multiple of 2, the devices along the other axes of the mesh data=2, tensor=2");
  fs::rename(box / "model.onnx", box / "moved.onnx");
  CHECK(box.run({"inspect", "out2", "--tp", "3"}).line() ==
        "--devices 3: the plan is for 2; to plan again takes its model; --model FILE");
  CHECK(box.run({"inspect", "out2", "--tp", "3", "--model", "moved.onnx"}).code == 0);
}

TEST_CASE("a line of a --sharding file names modules, as PyTorch does") {
  for (const char* name : {"opt-tiny", "opt-tiny-dynamo18"}) {
    CAPTURE(name);
    const Sandbox box;
    write_text(box / "s.txt", "layers.0 replicate\n");
    const Result cut = box.run({model(name), "--sharding", "s.txt", "-o", "out"});
    REQUIRE(cut.code == 0);
    CHECK(has(unwrapped(cut.err), "s.txt:1: layers.0 = replicate: "));
    CHECK(has(unwrapped(cut.err), "with what is computed with them: +54.7 KiB on each device"));
    const std::string first = box.run({"inspect", "out", "--tensor", "layers.0.*_proj.weight"}).out,
                      second = box.run({"inspect", "out", "--tensor", "layers.1.*_proj.weight"}).out;
    CHECK(count(first, "[48, 48]  [_, _]") == 4);
    CHECK(count(second, "[48, 48]  [_, (tensor _)]") == 3);
    // Nothing of the first layer is summed over devices any more: of 5 all-reduces 3 are left.
    CHECK(has(cut.err, "communicated: 3 all-reduces, 1 all-gather"));
    CHECK(box.run({"check", model(name), "--sharding", "s.txt", "--dim", "batch=2", "--dim", "sequence=5"}).code == 0);
  }
}

TEST_CASE("a line that is overridden, by a later one or by how outputs are given, says so with its number") {
  const Sandbox box;
  write_text(box / "s.txt", "layers.*.fc1 colwise\nlayers.0 replicate\nlogits [_, _, tensor]\n");
  const Result r = box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"});
  REQUIRE(r.code == 0);
  const std::string said = unwrapped(r.err);
  CHECK(has(said, "s.txt:2: layers.0 = replicate: overrides s.txt:1: layers.*.fc1 = colwise for "));
  CHECK(has(box.run({"inspect", "out", "--json"}).out, "output 'logits' is given whole all the same"));
  // What two lines ask of one layer's computation is an error that names both.
  write_text(box / "s.txt", "layers.0.fc1.weight colwise\nlayers.0.fc2.weight replicate\n");
  const Result both = box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "other"});
  CHECK(both.code == 2);
  CHECK(both.line() ==
        "s.txt:2: 'layers.0.fc2.weight' = 'replicate' of 'm.model.decoder.layers.0.fc2.weight' cannot hold together "
        "with s.txt:1: layers.0.fc1.weight = colwise of 'm.model.decoder.layers.0.fc1.weight': what is computed with "
        "the two has one dim: expected one layout of it; 'held replicate' is of how the weight is held alone");
}

TEST_CASE("op: is of results, by names of the file's operators and of the graph's") {
  const Sandbox box;
  for (const char* line : {"op:Softmax [_, _, _, _]", "op:softmax [_, _, _, _]", "op:LayerNormalization replicate",
                           "op:Add replicate", "op:MatMul replicate"}) {
    CAPTURE(line);
    write_text(box / "s.txt", std::string(line) + "\n");
    CHECK(box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"}).code == 0);
  }
  // The scores are gathered; weights stay as they were.
  write_text(box / "s.txt", "op:Softmax [_, _, _, _]\n");
  REQUIRE(box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"}).code == 0);
  CHECK(has(box.run({"inspect", "out", "--tensor", "layers.0.self_attn.q_proj.weight"}).out, "[_, (tensor _)]"));
  CHECK(has(box.run({"inspect", "out"}).out, "3 all-gathers"));
  write_text(box / "s.txt", "op:Softmx replicate\n");
  const Result r = box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "none"});
  CHECK(r.line() == "s.txt:1: pattern 'op:Softmx' matches no operator; nearest is 'Softmax'");
}

TEST_CASE("colwise of a fused projection cuts whole heads, and no run brings its weight anywhere") {
  const Sandbox box;
  write_text(box / "s.txt", "attn.c_attn colwise\n");
  const Result r = box.run({model("gpt2-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"});
  REQUIRE(r.code == 0);
  CHECK(has(r.err, "communicated: 5 all-reduces, 1 all-gather"));
  CHECK(has(box.run({"inspect", "out", "--tensor", "h.0.attn.c_attn.weight"}).out, "[_, (_ tensor _)]"));
}

TEST_CASE("a Hugging Face tp_plan is read, and a plan printed as one is the same plan when it is read") {
  const Sandbox box;
  // As transformers' LlamaConfig has it.
  write_text(box / "llama.json", R"({
  "layers.*.self_attn.q_proj": "colwise",
  "layers.*.self_attn.k_proj": "colwise",
  "layers.*.self_attn.v_proj": "colwise",
  "layers.*.self_attn.o_proj": "rowwise",
  "layers.*.mlp.gate_proj": "colwise",
  "layers.*.mlp.up_proj": "colwise",
  "layers.*.mlp.down_proj": "rowwise",
  "layers.*.mlp.experts": "moe_tp_experts"
})");
  REQUIRE(box.run({model("llama-tiny-dynamo"), "--devices", "2", "-o", "out"}).code == 0);
  const Result read = box.run({model("llama-tiny-dynamo"), "--devices", "2", "--tp-plan", "llama.json", "-o", "same"});
  REQUIRE(read.code == 0);
  CHECK(has(read.err, "llama.json:9: "));  // there are no experts
  CHECK(box.run({"diff", "out", "same"}).out == "no difference\n");
  for (const char* devices : {"6", "8"}) {  // for 4 heads of keys and values: each device holds those of its queries
    CAPTURE(devices);
    const Words plan{model("llama-tiny-dynamo"), "--devices", devices, "--no-html", "--overwrite", "-o"};
    REQUIRE(box.run(plan + Words{"by-strategy"}).code == 0);
    REQUIRE(box.run(plan + Words{"by-plan", "--tp-plan", "llama.json"}).code == 0);
    CHECK(box.run({"diff", "by-strategy", "by-plan"}).out == "no difference\n");
  }
  const std::string tied = box.run({"inspect", model("opt-tiny-dynamo18"), "--tp-plan"}).out;
  CHECK(has(tied, R"("model.decoder.embed_tokens": "embedding_rowwise")"));
  CHECK(!has(tied, "lm_head"));
  const std::string printed = box.run({"inspect", "out", "--tp-plan"}).out;
  CHECK(has(printed, "layers.*.self_attn.q_proj\": \"colwise\""));
  CHECK(has(printed, "layers.*.mlp.down_proj\": \"rowwise\""));
  CHECK(has(printed, "embed_tokens\": \"embedding_rowwise\""));
  write_text(box / "printed.json", printed);
  REQUIRE(box.run({model("llama-tiny-dynamo"), "--devices", "2", "--strategy", "origin", "--tp-plan", "printed.json",
                   "-o", "again"})
              .code == 0);
  for (const char* part : {"q_proj", "o_proj", "up_proj", "down_proj"}) {
    const std::string pattern = std::string("layers.*.") + part + ".weight";
    const auto shardings = [&](const char* folder) {
      const std::string text = box.run({"inspect", folder, "--tensor", pattern}).out;
      return text.substr(0, text.find("because"));
    };
    CHECK(shardings("again") == shardings("out"));
  }
  for (const auto& [text, says] : {std::pair{"[1]", "bad.json: expected an object from patterns to words"},
                                   {"{\"a\": 1}", "bad.json:1: 'a': expected a word such as \"colwise\""},
                                   {"{\n\"q_proj\": \"sideways\"}",
                                    "bad.json:2: 'q_proj' = 'sideways': expected colwise, rowwise, embedding_rowwise, "
                                    "replicate or a sharding such "
                                    "as [_, tensor]"}}) {
    write_text(box / "bad.json", text);
    const Result r = box.run({model("llama-tiny-dynamo"), "--tp-plan", "bad.json", "-o", "none"});
    CHECK(r.code != 0);
    CHECK(r.line() == says);
  }
}

TEST_CASE("experts' weights are layers' weights in a tp_plan, too") {
  const Sandbox box;
  const std::string mixtral = OPTP_TEST_DATA "/models/mixtral-tiny.onnx";
  // As transformers' MixtralConfig has it, but for its words of calls.
  write_text(box / "mixtral.json", R"({
  "layers.*.self_attn.*_proj": "colwise",
  "layers.*.self_attn.o_proj": "rowwise",
  "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
  "layers.*.mlp.experts.down_proj": "rowwise"
})");
  for (const char* devices : {"2", "3", "5"}) {
    CAPTURE(devices);
    const Words plan{mixtral, "--devices", devices, "--no-html", "--overwrite", "-o"};
    REQUIRE(box.run(plan + Words{"by-strategy"}).code == 0);
    REQUIRE(box.run(plan + Words{"by-plan", "--tp-plan", "mixtral.json"}).code == 0);
    CHECK(box.run({"diff", "by-strategy", "by-plan"}).out == "no difference\n");
    const std::string printed = box.run({"inspect", "by-strategy", "--tp-plan"}).out;
    CHECK(has(printed, "experts.gate_up_proj\": \"packed_colwise\""));
    CHECK(has(printed, "experts.down_proj\": \"rowwise\""));
    write_text(box / "printed.json", printed);
    REQUIRE(box.run(plan + Words{"by-printed", "--tp-plan", "printed.json"}).code == 0);
    CHECK(box.run({"diff", "by-strategy", "by-printed"}).out == "no difference\n");
  }
}

TEST_CASE("of every family a plan that is printed as a tp_plan is the same plan when it is read") {
  const Sandbox box;
  std::vector<std::string> models;
  for (const char* name : {"bert-tiny", "bigcode-tiny", "gpt2-tiny", "neox-tiny", "olmo2-tiny", "opt-tiny",
                           "opt350m-tiny", "phi3-tiny", "origin-tiny"})
    models.push_back(model(name));
  models.push_back(OPTP_TEST_DATA "/models/albert-tiny.onnx");
  models.push_back(OPTP_TEST_DATA "/encoder-decoder/model.onnx");
  for (const std::string& path : models)
    for (const char* devices : {"3", "5"}) {
      CAPTURE(path);
      CAPTURE(devices);
      const Words plan{path, "--devices", devices, "--plan-only", "--no-html", "--overwrite", "-o"};
      REQUIRE(box.run(plan + Words{"by-strategy"}).code == 0);
      write_text(box / "printed.json", box.run({"inspect", "by-strategy", "--tp-plan"}).out);
      REQUIRE(box.run(plan + Words{"by-printed", "--tp-plan", "printed.json"}).code == 0);
      CHECK(box.run({"diff", "by-strategy", "by-printed"}).out == "no difference\n");
    }
}

TEST_CASE("what a line of results sends is told by --what-if") {
  const Sandbox box;
  write_text(box / "s.txt", "op:Softmax replicate\n");
  const Result r = box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"});
  REQUIRE(r.code == 0);
  CHECK(has(unwrapped(r.err), "inspect --what-if 'op:Softmax=replicate' tells what is sent"));
  REQUIRE(box.run({model("opt-tiny"), "-o", "plain", "--no-html"}).code == 0);
  const Result told = box.run({"inspect", "plain", "--model", model("opt-tiny"), "--what-if", "op:Softmax=replicate"});
  REQUIRE(told.code == 0);
  CHECK(has(told.out, "all_gather             1 → 3"));
}

TEST_CASE("training takes the same names: frozen, without decay, and in a checkpoint's index") {
  const Sandbox box;
  REQUIRE(box.run({model("opt-tiny"), "--train", "--freeze", "layers.0", "--no-decay", "q_proj.weight", "-o", "step"})
              .code == 0);
  const std::string tensors = box.run({"inspect", "step", "--tensors"}).out;
  const std::string frozen = tensors.substr(tensors.find("\nfrozen"));
  CHECK(count(frozen.substr(0, frozen.find("\nconstant")), ".layers.0.") == 16);
  CHECK(count(tensors.substr(0, tensors.find("\nfrozen")), ".layers.0.") == 0);
  const Result r = box.run({model("opt-tiny"), "--train", "--freeze", "layers.0.self_atn", "-o", "none"});
  CHECK(r.code == 2);
  CHECK(has(r.line(),
            "--freeze 'layers.0.self_atn': matches no parameter; nearest is 'm.model.decoder.layers.0.self_attn"));
}

TEST_CASE("what the strategy leaves whole is said, with the reason and a line that cuts it") {
  const Sandbox box;
  const Result r = box.run({model("opt-tiny"), "-o", "out", "--no-html"});
  const std::string said = unwrapped(r.err);
  CHECK(has(said, "strategy megatron leaves 5."));
  CHECK(has(said, "embed_positions.weight'"));
  CHECK(has(said, "layer_norm needs it whole"));
  const std::string line = "m.model.decoder.embed_positions.weight [tensor, _]";
  CHECK(has(contents(box / "out/plan.json"), line));
  write_text(box / "s.txt", line + "\n");
  const Result cut = box.run({model("opt-tiny"), "--sharding", "s.txt", "-o", "out", "--no-html"});
  CHECK(cut.code == 0);
  CHECK(!has(cut.err, "leaves"));
}
