// check: holds for what is right, and finds what is broken on purpose, where it is.
#include <onnx/onnx_pb.h>

#include <cstring>
#include <limits>

#include "frontend/io/npy.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::vector<std::string> small = {"--devices", "2", "--dim", "batch=1", "--dim", "sequence=5"};
struct Mutant {
  std::string name;
  std::vector<std::string> flags;
  std::string row, place;  // the first row that fails, and what its line names
};
void is_found(const Mutant& m, const std::vector<std::string>& more, const std::vector<std::string>& size = small) {
  CAPTURE(m.name);
  const Sandbox box;
  const Result found =
      box.run(std::vector<std::string>{"check", export_of("opt-tiny") + "/model.onnx", "--mutant", m.name} + m.flags +
              size + more);
  CAPTURE(found.err);
  CAPTURE(found.out);
  CHECK(found.code == 1);
  CHECK(found.line().rfind(m.row + ": ", 0) == 0);
  CHECK(found.line().find(m.place) != std::string::npos);
  CHECK(found.line().find("expected") != std::string::npos);
  CHECK(found.out.find("FAILS") != std::string::npos);
}
}  // namespace

TEST_CASE("a fault in the forward pass is found at its node or its consumer") {
  for (const Mutant& m : std::vector<Mutant>{
           {"drop-all-reduce", {}, "local", "'/m/decoder/Add_1_output_0'"},  // the sum of the embedding feeds this add
           {"drop-all-reduce:2", {}, "local", "'/m/decoder/layers.0/fc2/Gemm'"},
           {"double-all-reduce:1", {}, "local", "'mutant'"},
           {"mean-for-sum:1", {}, "local", "'mutant'"},
           {"misplaced-all-reduce", {}, "local", "'/m/decoder/embed_tokens/Gather'"},
           {"row-bias-everywhere", {}, "local", "'/m/decoder/layers.0/self_attn/out_proj/MatMul'"},
           {"shift-shard", {}, "local", "'/m/decoder/embed_tokens/Gather'"},
           {"shift-shard:m.model.decoder.layers.0.fc1.weight", {}, "local", "'/m/decoder/layers.0/fc1/Gemm'"},
           {"vocabulary-off-by-one", {}, "local", "'/m/decoder/embed_tokens/Gather'"}})
    is_found(m, {});
}

TEST_CASE("in bfloat16 a model holds within the bound of its roundings, and a fault is found all the same") {
  const Sandbox box;
  // Of origin a table that is the head, too, is cut by columns: of each row a rank holds a part, at its own place.
  for (const char* model : {"opt-tiny", "opt-tiny-dynamo18", "llama-tiny-dynamo"})
    for (const char* strategy : {"megatron", "origin"}) {
      CAPTURE(model);
      CAPTURE(strategy);
      const Result r = box.run(std::vector<std::string>{"check", export_of(model) + "/model.onnx", "--compute", "bf16",
                                                        "--strategy", strategy, "--json", "report.json"} +
                               small);
      CAPTURE(r.err);
      CHECK(r.code == 0);
      CHECK(r.out.find("rounding") != std::string::npos);
    }
  is_found({"drop-all-reduce:2", {"--compute", "bf16"}, "local", "'/m/decoder/layers.0/fc2/Gemm'"}, {});
}

TEST_CASE("in float16 a model holds where the processor multiplies it, and is refused elsewhere") {
  const Sandbox box;
  const std::vector<std::string> half{"--compute", "f16"};
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const Result r = box.run(std::vector<std::string>{"check", model} + half + small);
  CAPTURE(r.err);
  if (r.code == 0) {
    CHECK(r.out.find("rounding") != std::string::npos);
    is_found({"drop-all-reduce:2", half, "local", "'/m/decoder/layers.0/fc2/Gemm'"}, {});
  } else {
    CHECK(r.code == 2);
    CHECK(r.line().find("--compute 'f16': expected a processor with AVX512-FP16, and oneDNN 3.0 or later, found ") ==
          0);
    CHECK(box.run(std::vector<std::string>{"bench", model} + half + small).code == 2);
    CHECK(box.run(std::vector<std::string>{"generate", model, "--prompt-ids", "1,2"} + half).code == 2);
  }
  CHECK(box.run({"check", model, "--train", "--compute", "f16"}).code == 2);
}

TEST_CASE("a fault in a training step is found at its node, its consumer or its parameter, and in no row before") {
  const std::string table = "'m.model.decoder.embed_tokens.weight";
  for (const Mutant& m : std::vector<Mutant>{
           // The forward pass stays right where a column-parallel input's gradient is not summed.
           {"drop-backward-all-reduce:0", {}, "backward", "'/m/decoder/final_layer_norm/LayerNormalization/backward'"},
           {"drop-backward-all-reduce:2",
            {},
            "backward",
            "'/m/decoder/layers.1/self_attn_layer_norm/LayerNormalization/backward'"},
           {"partial-norm-gradient", {}, "backward", "'/m/decoder/final_layer_norm/LayerNormalization/backward'"},
           {"local-vocabulary-as-global", {}, "loss", "'loss/iota.1' of node 'loss' (iota), rank 1"},
           {"skip-tied-gradient", {}, "gradients", "gradient of " + table},
           {"clip-counts-replicas", {"--max-grad-norm", "0.1"}, "backward", "all_reduce' of node 'optimizer'"},
           {"clip-not-applied", {"--max-grad-norm", "0.1"}, "sgd", table},
           {"bias-correction-off-by-one", {}, "backward", "of node 'optimizer' (cast)"},
           {"decay-on-one-rank", {"--optimizer", "adamw"}, "sgd nesterov decay", table},
           {"moment-on-another-axis", {}, "sgd momentum", table + ".momentum_buffer'"},
           {"swapped-betas", {}, "adam", table + ".exp_avg'"}})
    is_found(m, {"--train"});
}

TEST_CASE("what is asked of one optimizer is not asked of the others") {
  const Sandbox box;
  const std::vector<std::string> check{"check", export_of("opt-tiny") + "/model.onnx", "--train"};
  auto row = [&](const std::string& name, const std::vector<std::string>& flags) {
    const Result r = box.run(check + small + flags);
    CHECK(r.code == 0);
    const size_t at = r.out.find("\n" + name + "  ");
    REQUIRE(at != std::string::npos);
    return r.out.substr(at + 1, r.out.find('\n', at + 1) - at - 1);
  };
  const std::vector<std::string> betas{"--betas", "0.8", "0.95"};
  CHECK(row("adam", betas) == row("adam", {}));
  CHECK(row("adam as asked", betas) != row("adam", {}));
}

TEST_CASE("a gradient that decay all but cancels is rounded, and what it is divided by with it") {
  const Sandbox box;
  for (const char* model : {"opt-tiny", "gpt2-tiny"})
    for (const Words& more : std::vector<Words>{{}, {"--centered"}, {"--centered", "--momentum", "0.5"}}) {
      CAPTURE(model);
      CAPTURE(more);
      const Result r = box.run(Words{"check", export_of(model) + "/model.onnx", "--train", "--optimizer", "rmsprop",
                                     "--lr", "1e-4", "--weight-decay", "0.1"} +
                               small + more);
      CAPTURE(r.out);
      CHECK(r.code == 0);
    }
}

TEST_CASE("a fault between data ranks, of ZeRO's parts or of sequence parallelism is found") {
  const std::vector<std::string> on_mesh{"--mesh", "data=2,tensor=2", "--dim", "batch=2", "--dim", "sequence=5"};
  const std::string head = "'/m/decoder/final_layer_norm/LayerNormalization/backward'",
                    table = "'m.model.decoder.embed_tokens.weight";
  for (const Mutant& m : std::vector<Mutant>{
           {"gradient-not-summed", {"--zero", "1"}, "gradients", "gradient of 'm.model.decoder.layers.1.fc2.weight'"},
           {"gradient-not-summed", {"--zero", "3"}, "backward", "'mutant'"},
           {"gradient-summed-twice:1", {}, "backward", "'mutant'"},
           {"gradient-summed-twice", {"--zero", "2"}, "backward", "'mutant'"},
           {"gradient-mean-for-sum:2", {}, "backward", "'mutant'"},
           {"gradient-mean-for-sum", {"--zero", "3"}, "backward", "'mutant'"},
           {"wrong-group:1", {}, "forward", "'/m/decoder/layers.0/self_attn/out_proj/MatMul'"},
           {"wrong-group:6", {}, "backward", "'/m/decoder/layers.1/fc2/Gemm/backward'"},
           {"gradient-of-another-shard", {"--zero", "1"}, "sgd momentum", table},
           {"gradient-of-another-shard", {"--zero", "2"}, "backward", "'mutant'"},
           {"stale-parameter", {"--zero", "1"}, "sgd momentum", table},
           {"stale-parameter", {"--zero", "2"}, "sgd", table},
           {"moment-on-another-axis", {"--zero", "1"}, "sgd momentum", table + ".momentum_buffer'"},
           {"partial-norm-gradient", {"--sequence-parallel"}, "backward", head}})
    is_found(m, {"--train"}, on_mesh);
}

TEST_CASE("the check of a training step holds, also when nothing divides and in half precision") {
  const Sandbox box;
  for (const auto& [name, devices] : {std::pair{"opt-tiny", "3"},
                                      {"gpt2-tiny", "2"},
                                      {"llama-tiny-dynamo", "5"},
                                      {"opt-tiny-fp16", "2"},
                                      {"opt-tiny-bf16", "3"}}) {
    CAPTURE(name);
    const Result found = box.run({"check", export_of(name) + "/model.onnx", "--train", "--max-grad-norm", "0.5",
                                  "--devices", devices, "--dim", "batch=2", "--dim", "sequence=5"});
    CAPTURE(found.out);
    CAPTURE(found.err);
    CHECK(found.code == 0);
    CHECK(found.out.find("FAILS") == std::string::npos);
    for (const char* row : {"forward", "loss", "backward", "gradients", "sgd nesterov decay", "adamw",
                            "rmsprop centered", "memory", "stability"})
      CHECK(found.out.find(std::string("\n") + row + " ") != std::string::npos);
  }
}

TEST_CASE("check --golden compares with stored arrays, and with what they should have been") {
  const Sandbox box;
  for (const char* name : {"opt-tiny", "opt-tiny-fp16", "opt-tiny-bf16"}) {
    CAPTURE(name);
    const std::string folder = export_of(name);
    const std::vector<std::string> command{"check",        folder + "/model.onnx", "--devices", "3",
                                           "--inputs-dir", folder + "/inputs",     "--golden"};
    const Result right = box.run(command + std::vector<std::string>{folder + "/golden"});
    CAPTURE(right.err);
    CHECK(right.code == 0);
    CHECK(right.out.find("\ngolden ") != std::string::npos);
    CHECK(right.out.find("\nexact ") != std::string::npos);
    CHECK(right.out.find("golden's own error") != std::string::npos);

    fs::create_directories(box / "other");
    fs::copy_file(folder + "/golden/logits.2.npy", box / "other/logits.npy", fs::copy_options::overwrite_existing);
    const Result other = box.run(command + std::vector<std::string>{"other"});
    CHECK(other.code == 65);
    CHECK(other.line().rfind("other/logits.npy: expected the output's shape [", 0) == 0);

    std::string bytes = contents(folder + "/golden/logits.npy");
    bytes.back() = char(bytes.back() ^ 0x03);  // the last element's exponent
    write_text(box / "other/logits.npy", bytes);
    const Result changed = box.run(command + std::vector<std::string>{"other"});
    CHECK(changed.code == 1);
    CHECK(changed.line().rfind("golden: output 'logits', index [", 0) == 0);
  }
}

namespace {
onnx::ModelProto read_model(const std::string& path) {
  onnx::ModelProto out;
  REQUIRE(out.ParseFromString(contents(path)));
  return out;
}
onnx::NodeProto& add_node(onnx::ModelProto& m, const std::string& op, const std::vector<std::string>& inputs,
                          const std::string& output) {
  onnx::NodeProto& n = *m.mutable_graph()->add_node();
  n.set_op_type(op), n.set_name("added/" + op), n.add_output(output);
  for (const std::string& i : inputs) n.add_input(i);
  return n;
}
}  // namespace

TEST_CASE("of a model that itself gives nan, check says so, and where it begins") {
  const Sandbox box;
  // logits + √(z · z) with z = 0 · logits: the same logits, and a gradient of ∞ · 0.
  onnx::ModelProto steep = read_model(export_of("opt-tiny") + "/model.onnx");
  for (onnx::NodeProto& n : *steep.mutable_graph()->mutable_node())
    for (std::string& o : *n.mutable_output())
      if (o == "logits") o = "plain";
  onnx::TensorProto& zero = *steep.mutable_graph()->add_initializer();
  zero.set_name("zero"), zero.set_data_type(onnx::TensorProto::FLOAT), zero.add_float_data(0);
  add_node(steep, "Mul", {"plain", "zero"}, "z");
  add_node(steep, "Mul", {"z", "z"}, "square").set_name("added/Square");
  add_node(steep, "Sqrt", {"square"}, "root");
  add_node(steep, "Add", {"plain", "root"}, "logits");
  write_text(box / "steep.onnx", steep.SerializeAsString());
  const std::vector<std::string> forward = std::vector<std::string>{"check", "steep.onnx"} + small;
  CHECK(box.run(forward).code == 0);
  const Result step = box.run(forward + std::vector<std::string>{"--train"});
  CHECK(step.code == 1);
  CAPTURE(step.err);
  CHECK(step.line().rfind("training step in float64, unpartitioned: the model itself gives nan: first in ", 0) == 0);
  CHECK(step.line().find(" of node 'added/Sqrt/backward' (div), of ") != std::string::npos);
  CHECK(step.line().find("'root' from 0 to 0") != std::string::npos);
  CHECK(step.line().find("expected nan") == std::string::npos);

  // A weight that holds it: named, with the node that uses it first.
  onnx::ModelProto damaged = read_model(export_of("opt-tiny") + "/model.onnx");
  for (onnx::TensorProto& t : *damaged.mutable_graph()->mutable_initializer())
    if (t.name() == "m.model.decoder.layers.1.fc1.bias") {
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(t.mutable_raw_data()->data(), &nan, sizeof nan);
    }
  write_text(box / "damaged.onnx", damaged.SerializeAsString());
  const Result held = box.run(std::vector<std::string>{"check", "damaged.onnx", "--train"} + small);
  CHECK(held.code == 1);
  // Without a step both sides have it and are the same: the table says so.
  const Result same = box.run(std::vector<std::string>{"check", "damaged.onnx"} + small);
  CHECK(same.code == 0);
  CHECK(same.out.find("; the model itself gives nan: 'm.model.decoder.layers.1.fc1.bias' of node ") !=
        std::string::npos);
  CHECK(held.line().find("the model itself gives nan: 'm.model.decoder.layers.1.fc1.bias' of node "
                         "'/m/decoder/layers.1/fc1/Gemm' (Gemm) holds it") != std::string::npos);
}

// y [batch, tokens, classes], named logits, of floats: nothing says what the labels are.
TEST_CASE("a training step of a model without ids is checked on labels that are given") {
  const Sandbox box;
  onnx::ModelProto m;
  m.set_ir_version(8);
  m.add_opset_import()->set_version(17);
  auto& graph = *m.mutable_graph();
  graph.set_name("main");
  auto describe = [](onnx::ValueInfoProto& v, const char* name, const std::vector<int64_t>& dims) {
    v.set_name(name);
    auto& t = *v.mutable_type()->mutable_tensor_type();
    t.set_elem_type(onnx::TensorProto::FLOAT);
    for (int64_t d : dims) t.mutable_shape()->add_dim()->set_dim_value(d);
  };
  describe(*graph.add_input(), "pixels", {2, 6, 8});
  describe(*graph.add_output(), "logits", {2, 6, 10});
  const char* before = "pixels";
  for (const auto& [name, rows, columns, after] :
       {std::tuple{"up.weight", 8, 16, "h"}, {"down.weight", 16, 8, "z"}, {"head.weight", 8, 10, "logits"}}) {
    auto& w = *graph.add_initializer();
    w.set_name(name), w.set_data_type(onnx::TensorProto::FLOAT), w.add_dims(rows), w.add_dims(columns);
    for (int k = 0; k < rows * columns; ++k) w.add_float_data(float((k * 37 + rows) % 23) / 40 - 0.25f);
    auto& n = *graph.add_node();
    n.set_op_type("MatMul"), n.set_name(name), n.add_input(before), n.add_input(name), n.add_output(after);
    before = after;
  }
  write_text(box / "m.onnx", m.SerializeAsString());
  const std::vector<std::string> check{"check", "m.onnx", "--train", "--devices", "2"};
  const Result none = box.run(check);
  CHECK(none.code != 0);
  CHECK(none.line().find("no input has the labels' shape [2, 6]: give labels.npy in --inputs-dir") !=
        std::string::npos);
  Array pixels, labels;
  pixels.resize(true, {2, 6, 8}), labels.resize(false, {2, 6});
  for (size_t k = 0; k < pixels.f.size(); ++k) pixels.f[k] = double(k % 7) / 4 - 0.75;
  for (size_t k = 0; k < labels.i.size(); ++k) labels.i[k] = k == 3 ? -100 : int64_t(k * 3 % 10);
  fs::create_directory(box / "in");
  REQUIRE(!write_npy(box / "in/pixels.npy", host_array(pixels, DType::f32)));
  REQUIRE(!write_npy(box / "in/labels.npy", host_array(labels, DType::i64)));
  const Result held = box.run(check + std::vector<std::string>{"--inputs-dir", "in"});
  CAPTURE(held.err);
  CAPTURE(held.out);
  CHECK(held.code == 0);
}
