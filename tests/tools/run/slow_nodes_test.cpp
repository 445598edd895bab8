// What no kernel runs is remarked on: once for all ranks and nodes of a kind, on stderr and in what is written as JSON.
#include "frontend/io/json.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::vector<std::string> dims{"--dim", "batch=2", "--dim", "sequence=8"};
// An export whose activations are signs, which have no kernel: field 4 of a node, its operator, is as long as before.
void write_model_of_signs(const std::string& path) {
  const std::string from = "\x22\x04Relu", to = "\x22\x04Sign";
  std::string model = contents(export_of("opt-tiny") + "/model.onnx");
  size_t found = 0;
  for (size_t at = 0; (at = model.find(from, at)) != std::string::npos; ++found) model.replace(at, from.size(), to);
  REQUIRE(found == 2);
  write_text(path, model);
}
std::string list_of(const std::string& path) {
  auto json = parse_json(path, contents(path));
  REQUIRE(bool(json));
  std::string out;
  llvm::raw_string_ostream(out) << *json->getAsObject()->get("slow_nodes");
  return out;
}
const char* const remark =
    "opt-partition: remark: sign of float32 runs in float64, which is slow: it has no kernel; 2 nodes, the first "
    "computes '/m/decoder/layers.0/activation_fn/Relu_output_0'\n";
const char* const listed =
    R"json([{"dtype":"float32","first":"/m/decoder/layers.0/activation_fn/Relu_output_0","nodes":2,"op":"sign","reason":"it has no kernel"}])json";
}  // namespace

TEST_CASE("run, check and bench remark on nodes that run in float64 for want of a kernel") {
  const Sandbox box;
  write_model_of_signs(box / "m.onnx");
  REQUIRE(box.run({"m.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const std::vector<std::string> inputs{"--input", "input_ids=rand(1)", "--input", "attention_mask=ones"};
  Result r = box.run(std::vector<std::string>{"run", "out", "-o", "res"} + inputs + dims);
  CHECK(r.code == 0);
  CHECK(r.err == remark);
  CHECK(box.run(std::vector<std::string>{"--quiet", "run", "out", "-o", "res2"} + inputs + dims).err == "");
  r = box.run(std::vector<std::string>{"check", "m.onnx", "--devices", "2", "--json", "check.json"} + dims);
  CHECK(r.code == 0);
  CHECK(r.err == remark);
  CHECK(list_of(box / "check.json") == listed);
  r = box.run(std::vector<std::string>{"bench", "m.onnx", "--devices", "2", "--runs", "1", "--json", "bench.json"} +
              dims);
  CHECK(r.code == 0);
  CHECK(r.err == remark);
  CHECK(list_of(box / "bench.json") == listed);
}

TEST_CASE("where kernels run all, nothing is remarked: OPT in float32, its training step too") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  Result r =
      box.run(std::vector<std::string>{"check", model, "--devices", "2", "--train", "--json", "check.json"} + dims);
  CHECK(r.code == 0);
  CHECK(r.err == "");
  CHECK(list_of(box / "check.json") == "[]");
  REQUIRE(box.run({model, "--devices", "2", "--train", "-o", "step"}).code == 0);
  r = box.run(std::vector<std::string>{"run", "step", "--input", "input_ids=rand(1)", "--input", "attention_mask=ones",
                                       "--input", "labels=rand(1)", "-o", "res"} +
              dims);
  CHECK(r.code == 0);
  CHECK(r.err == "");
  r = box.run(std::vector<std::string>{"bench", model, "--devices", "2", "--runs", "1", "--json", "bench.json"} + dims);
  CHECK(r.err == "");
  CHECK(list_of(box / "bench.json") == "[]");
}
