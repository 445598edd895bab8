// inspect: the plan as people see it.
#include "tests/tools/program.h"

using namespace optp;

namespace {
size_t columns(const std::string& line) {
  return size_t(std::count_if(line.begin(), line.end(), [](char c) { return uint8_t(c) >> 6 != 2; }));
}
}  // namespace

TEST_CASE("plans of OPT-125M, their tensors, causes and differences are told as in tests/data/golden") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-125m-structure") + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const Result shown = box.run({"inspect", "out"});
  CHECK(shown.code == 0);
  CHECK(shown.err == "");
  check_golden("inspect-opt-125m.txt", shown.out);
  const std::string table = "m.model.decoder.embed_tokens.weight";
  check_golden("tensor-opt-125m.txt", box.run({"inspect", "out", "--tensor", table}).out);
  check_golden("why-opt-125m.txt", box.run({"inspect", "out", "--why", table}).out +
                                       box.run({"inspect", "out", "--why", "m.model.decoder.layers.3.fc1.bias"}).out +
                                       box.run({"inspect", "out", "--why", "m.model.decoder.layers.3.fc2.bias"}).out +
                                       box.run({"inspect", "out", "--why", "logits"}).out);
  REQUIRE(box.run({export_of("opt-125m-structure") + "/model.onnx", "--devices", "2", "--train", "-o", "step"}).code ==
          0);
  check_golden("inspect-training-opt-125m.txt", box.run({"inspect", "step"}).out);
  REQUIRE(box.run({export_of("opt-125m-structure") + "/model.onnx", "--devices", "3", "--strategy", "origin", "-o",
                   "origin"})
              .code == 0);
  check_golden("inspect-origin-opt-125m.txt", box.run({"inspect", "origin"}).out);
  check_golden("diff-opt-125m.txt", box.run({"diff", "out", "origin"}).out);
}

TEST_CASE("a plan is at most 40 lines of 80 columns for two devices, whatever the model and strategy") {
  const Sandbox box;
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports"))
    for (const char* devices : {"1", "2", "64"})
      for (const char* strategy : {"megatron", "origin"}) {
        CAPTURE(entry.path().filename().string());
        CAPTURE(devices);
        CAPTURE(strategy);
        REQUIRE(box.run({entry.path().string() + "/model.onnx", "--devices", devices, "--strategy", strategy,
                         "--plan-only", "-o", "out"})
                    .code == 0);
        const Result shown = box.run({"inspect", "out"});
        REQUIRE(shown.code == 0);
        std::istringstream lines(shown.out);
        size_t count = 0;
        for (std::string line; std::getline(lines, line); ++count) {
          CAPTURE(line);
          CHECK(columns(line) <= 80);
          CHECK((line.empty() || line.back() != ' '));
        }
        CHECK(count <= (std::string(devices) == "64" ? 48 : 40));
      }
}

TEST_CASE("a tensor that the plan does not have is an error with the nearest name") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  const Result r = box.run({"inspect", "out", "--why", "m.model.decoder.embed_token.weight"});
  CHECK(r.code == 66);
  CHECK(
      r.line() ==
      "the plan has no tensor 'm.model.decoder.embed_token.weight'; nearest is 'm.model.decoder.embed_tokens.weight'");
}

TEST_CASE("--tensor draws a ruler for each dim, with the devices along it") {
  const Sandbox box;
  REQUIRE(box.run({export_of("gpt2-tiny") + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const std::string fused = box.run({"inspect", "out", "--tensor", "m.transformer.h.0.attn.c_attn.weight"}).out;
  CAPTURE(fused);
  CHECK(fused.find("  dim 0        48 |                       all                        |\n"
                   "  dim 1       144 |   0    |   1   |   0    |   1   |   0    |   1   |\n") != std::string::npos);
  CHECK(fused.find('\x1b') == std::string::npos);
  const Result coloured =
      box.run({"inspect", "out", "--tensor", "m.transformer.h.0.attn.c_attn.weight", "--color", "always"});
  CHECK(coloured.out.find("\x1b[48;5;25;38;5;231m") != std::string::npos);
  CHECK(box.run({"inspect", "out", "--color", "pink"}).code == 2);
  // Many devices: no line is longer than a terminal's.
  REQUIRE(box.run({export_of("gpt2-tiny") + "/model.onnx", "--devices", "16", "-o", "many"}).code == 0);
  std::istringstream lines(box.run({"inspect", "many", "--tensor", "m.transformer.h.0.attn.c_attn.weight"}).out);
  for (std::string line; std::getline(lines, line);)
    if (line.rfind("  dim", 0) == 0) CHECK(columns(line) <= 100);
}

TEST_CASE("--dot gives Graphviz all operations, collectives and layers") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const std::string dot = box.run({"inspect", "out", "--dot"}).out;
  CHECK(dot.rfind("digraph \"model.onnx on 2 devices\" {\n", 0) == 0);
  CHECK(dot.substr(dot.size() - 2) == "}\n");
  for (const char* what :
       {"subgraph cluster_0 {\ngraph [\nfontname=\"sans-serif\", label=\"layer 0\"];", "label=\"layer 1\"",
        "embed_tokens.weight [257, 48] [tensor, _]", "all-reduce over tensor\\n24.0 KiB", "0 -> 1;"})
    CHECK(dot.find(what) != std::string::npos);
  CHECK(std::count(dot.begin(), dot.end(), '{') == std::count(dot.begin(), dot.end(), '}'));
}
