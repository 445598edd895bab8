// export of trained weights. What must never be: weights under a wrong name.
#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>

#include <map>

#include "tests/tools/train/trainer.h"

using namespace optp;

namespace {
onnx::ModelProto model_of(const std::string& path) {
  onnx::ModelProto out;
  REQUIRE(out.ParseFromString(contents(path)));
  return out;
}
const onnx::TensorProto* initializer(const onnx::ModelProto& model, const std::string& name) {
  for (const auto& t : model.graph().initializer())
    if (t.name() == name) return &t;
  return nullptr;
}
}  // namespace

TEST_CASE(
    "export puts the weights back under their names: the model as exported gives the loss that training goes on with") {
  for (const char* name : {"opt-tiny", "opt-tiny-fresh", "opt-tiny-fp16", "opt-tiny-external", "gpt2-tiny"}) {
    const Trainer t;
    const std::string model = export_of(name) + "/model.onnx";
    write_text(t.box / "t.bin", corpus(128));  // one batch: the same in each epoch
    const std::vector<std::string> words{"--batch", "8", "--sequence", "16", "--lr", "0.01"};
    CAPTURE(name);
    REQUIRE(t.train(words + std::vector<std::string>{"--save", "run", "--epochs", "3"}, model).code == 0);
    const Result r = t.box.run({"export", "run", "-o", "up.onnx"});
    CHECK(r.err == "");
    REQUIRE(r.code == 0);
    CHECK(fs::exists(t.box / "up.onnx.data") == (std::string(name) == "opt-tiny-external"));
    REQUIRE(t.train({"--resume", "run", "--epochs", "4"}, model).code == 0);
    REQUIRE(t.train(words + std::vector<std::string>{"--save", "again"}, t.box / "up.onnx").code == 0);
    // Half-precision models compute with rounded weights in training, too, so only the order of rows is another.
    CHECK(t.checkpoint("again").run().losses[0] == doctest::Approx(t.checkpoint("run").run().losses[3]).epsilon(1e-5));
    CHECK(t.checkpoint("run").run().losses[3] < t.checkpoint("run").run().losses[0] - 1);
  }
}

TEST_CASE("a checkpoint's index tells what the model calls a parameter, where the file has another name") {
  const Trainer t;
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "run", "--max-steps", "1"}).code == 0);
  const Checkpoint c = t.checkpoint("run");
  std::map<std::string, std::string> renamed;
  for (const CheckpointTensor& tensor : c.tensors()) {
    CAPTURE(tensor.name);
    // The file's own names are known by a colon; what is PyTorch's already is not told twice.
    const bool is_exporters = tensor.kind.of == UpdateKind::parameter && tensor.name.find(':') != std::string::npos;
    CHECK(tensor.model_name.empty() == !is_exporters);
    if (is_exporters) renamed[tensor.name] = tensor.model_name;
  }
  CHECK(renamed.size() == 8);  // four projections of two layers, of which attention's have no Gemm
  CHECK(renamed["onnx::MatMul_363"] == "m.model.decoder.layers.0.self_attn.q_proj.weight");
  const std::string index = contents(t.box / "run/checkpoint.json");
  CHECK(index.find("\"model_name\": \"m.model.decoder.layers.0.self_attn.q_proj.weight\"") != std::string::npos);
}

TEST_CASE("export changes nothing but the trained tensors, and each of them to the bit") {
  const Trainer t;
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "run", "--max-steps", "2"}).code == 0);
  REQUIRE(t.box.run({"export", "run", "-o", "up.onnx"}).code == 0);
  const Checkpoint c = t.checkpoint("run");
  onnx::ModelProto before = model_of(opt_tiny), after = model_of(t.box / "up.onnx");
  size_t compared = 0;
  for (const CheckpointTensor& tensor : c.tensors()) {
    if (tensor.kind.of != UpdateKind::parameter) continue;
    const HostArray whole = llvm::cantFail(c.whole(tensor));
    const auto* own = initializer(after, tensor.name);
    REQUIRE(own);
    CHECK(own->raw_data() == std::string(whole.bytes.begin(), whole.bytes.end()));
    ++compared;
    for (const std::string& alias : tensor.transposed_aliases) {
      const auto* turned = initializer(after, alias);
      REQUIRE(turned);
      const int64_t rows = whole.dims[0], columns = whole.dims[1];
      bool same =
          turned->raw_data().size() == whole.bytes.size() && turned->dims(0) == columns && turned->dims(1) == rows;
      for (int64_t r = 0; same && r < rows; ++r)
        for (int64_t k = 0; same && k < columns; ++k)
          same = std::memcmp(turned->raw_data().data() + 4 * (k * rows + r), whole.bytes.data() + 4 * (r * columns + k),
                             4) == 0;
      CHECK(same);
      ++compared;
    }
  }
  CHECK(compared == 37);
  for (auto* model : {&before, &after})
    for (auto& i : *model->mutable_graph()->mutable_initializer())
      if (c.find(i.name()) || i.dims_size() == 2) i.clear_raw_data(), i.clear_float_data();
  CHECK(before.SerializeAsString() == after.SerializeAsString());
}

TEST_CASE("what an exporter merged without a trace is trained apart and exported apart") {
  const Trainer t;
  // opt-tiny-fresh names its merged norms and biases by Identity; without these one tensor is used many times over.
  onnx::ModelProto model = model_of(export_of("opt-tiny-fresh") + "/model.onnx");
  auto& graph = *model.mutable_graph();
  std::map<std::string, std::string> source;
  for (const auto& n : graph.node())
    if (n.op_type() == "Identity" && initializer(model, n.input(0))) source[n.output(0)] = n.input(0);
  REQUIRE(source.size() > 10);
  onnx::ModelProto merged = model;
  merged.mutable_graph()->clear_node();
  int without_bias = 0;
  for (onnx::NodeProto n : graph.node()) {
    if (source.count(n.output(0))) continue;
    for (auto& i : *n.mutable_input())
      if (auto it = source.find(i); it != source.end()) i = it->second;
    if (n.op_type() == "Gemm" && without_bias == 0)
      n.mutable_input()->RemoveLast(), ++without_bias;  // a bias of zeros is dropped
    *merged.mutable_graph()->add_node() = n;
  }
  REQUIRE(without_bias == 1);
  write_text(t.box / "merged.onnx", merged.SerializeAsString());
  write_text(t.box / "t.bin", corpus(128));
  const std::vector<std::string> words{"--batch", "8", "--sequence", "16", "--lr", "0.01"};
  REQUIRE(t.train(words + std::vector<std::string>{"--save", "run", "--epochs", "3"}, t.box / "merged.onnx").code == 0);
  const Result r = t.box.run({"export", "run", "-o", "up.onnx"});
  CHECK(r.err == "");
  REQUIRE(r.code == 0);
  // The same as where Identity names them.
  REQUIRE(t.train(words + std::vector<std::string>{"--save", "named", "--epochs", "3"},
                  export_of("opt-tiny-fresh") + "/model.onnx")
              .code == 0);
  for (size_t k = 0; k < 3; ++k)
    CHECK(t.checkpoint("named").run().losses[k] == doctest::Approx(t.checkpoint("run").run().losses[k]).epsilon(1e-5));
  REQUIRE(t.train({"--resume", "run", "--epochs", "4"}, t.box / "merged.onnx").code == 0);
  REQUIRE(t.train(words + std::vector<std::string>{"--save", "again"}, t.box / "up.onnx").code == 0);
  CHECK(t.checkpoint("again").run().losses[0] == doctest::Approx(t.checkpoint("run").run().losses[3]).epsilon(1e-5));
}

TEST_CASE("export finds the model, or says that it is gone or another") {
  const Trainer t;
  fs::copy_file(opt_tiny, t.box / "m.onnx");
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "run", "--max-steps", "1"}, "m.onnx").code == 0);
  CHECK(t.box.run({"export", "run", "-o", "m.onnx"}).code == 73);  // never over its own input
  CHECK(contents(t.box / "m.onnx") == contents(opt_tiny));
  fs::rename(t.box / "m.onnx", t.box / "elsewhere.onnx");
  Result r = t.box.run({"export", "run", "-o", "up.onnx"});
  CHECK(r.code == 66);
  CHECK(r.line().find("--model FILE says where it is now") != std::string::npos);
  CHECK(t.box.run({"export", "run", "-o", "up.onnx", "--model", "elsewhere.onnx"}).code == 0);
  r = t.box.run({"export", "run", "-o", "up2.onnx", "--model", export_of("opt-tiny-fp16") + "/model.onnx"});
  CHECK(r.code == 65);
  CHECK(r.line().find("BLAKE3: expected ") != std::string::npos);
  CHECK(!fs::exists(t.box / "up2.onnx"));
}
