// run: inputs, weights that are not there, outputs all or none.
#include <chrono>
#include <cmath>
#include <thread>

#include "frontend/io/npy.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
std::vector<float> floats(const std::string& path) {
  auto array = read_npy(path);
  if (!array) FAIL(llvm::toString(array.takeError()));
  std::vector<float> out(array->bytes.size() / 4);
  std::memcpy(out.data(), array->bytes.data(), array->bytes.size());
  return out;
}
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t k = 0; k < a.size(); ++k) most = std::max(most, double(std::fabs(a[k] - b[k])));
  return most;
}
const std::vector<std::string> tiny = {"--layers", "2",     "--hidden", "96",      "--heads",
                                       "3",        "--ffn", "200",      "--vocab", "1003"};
const std::vector<std::string> drawn_inputs = {"--input", "input_ids=rand(1)", "--input", "attention_mask=ones",
                                               "--dim",   "batch=2",           "--dim",   "sequence=8"};
}  // namespace

TEST_CASE("a model without weights is partitioned, and runs on drawn ones that are the same however it is cut") {
  const Sandbox box;
  REQUIRE(box.run(std::vector<std::string>{"build", "opt-125m", "-o", "m.onnx", "--no-weights"} + tiny).code == 0);
  std::vector<float> first;
  for (const char* devices : {"1", "2", "5"})
    for (const char* strategy : {"megatron", "origin"}) {
      CAPTURE(devices);
      CAPTURE(strategy);
      REQUIRE(box.run({"m.onnx", "--devices", devices, "--strategy", strategy, "-o", "out"}).code == 0);
      CHECK(!fs::exists(box / "out/rank0/model.onnx.data"));
      const Result without = box.run(std::vector<std::string>{"run", "out", "-o", "res"} + drawn_inputs);
      CHECK(without.code == 66);
      CHECK(without.line() ==
            "out/rank0/model.onnx: weights file 'model.onnx.data' of 'model.decoder.embed_tokens.weight' is not there; "
            "--random-weights SEED runs without it");
      CHECK(!fs::exists(box / "res"));
      REQUIRE(
          box.run(std::vector<std::string>{"run", "out", "-o", "res", "--random-weights", "7"} + drawn_inputs).code ==
          0);
      const auto logits = floats(box / "res/logits.npy");
      CHECK(std::any_of(logits.begin(), logits.end(), [](float x) { return std::fabs(x) > 0.01; }));
      if (first.empty()) first = logits;
      CHECK(difference(first, logits) < 1e-5);  // float32 sums in another order
      fs::remove_all(box / "res");
    }
  for (const char* compute : {"f32", "bf16"})
    CHECK(box.run({"check", "m.onnx", "--devices", "3", "--random-weights", "7", "--dim", "batch=2", "--dim",
                   "sequence=8", "--compute", compute})
              .code == 0);
}

TEST_CASE("drawn ids are spread over the whole table, however its rows are split") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--devices", "3", "-o", "out"}).code == 0);
  CHECK(contents(box / "out/plan.json").find("\"rows\":257") != std::string::npos);
  REQUIRE(box.run(std::vector<std::string>{"run", "out", "-o", "one"} + drawn_inputs).code == 0);
  REQUIRE(box.run({"run", "out", "-o", "two", "--input", "input_ids=ones", "--input", "attention_mask=ones", "--dim",
                   "batch=2", "--dim", "sequence=8"})
              .code == 0);
  CHECK(difference(floats(box / "one/logits.npy"), floats(box / "two/logits.npy")) > 0.01);
}

TEST_CASE("an ONNX tensor file is an input like a .npy file") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny");
  auto ids = read_npy(folder + "/inputs/input_ids.npy");
  REQUIRE(bool(ids));
  // TensorProto: dims = 1, data_type = 2, raw_data = 9.
  std::string proto;
  for (int64_t d : ids->dims) proto += {'\x08', char(d)};
  proto += {'\x10', '\x07', '\x4a'};
  for (size_t n = ids->bytes.size();; n >>= 7) {
    proto += char(n > 127 ? (n & 127) | 128 : n);
    if (n <= 127) break;
  }
  proto.append(ids->bytes.data(), ids->bytes.size());
  write_text(box / "in/input_ids.pb", proto);
  fs::copy(folder + "/inputs/attention_mask.npy", box / "in/attention_mask.npy");
  REQUIRE(box.run({folder + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  REQUIRE(box.run({"run", "out", "--inputs-dir", "in", "-o", "a"}).code == 0);
  REQUIRE(box.run({"run", "out", "--inputs-dir", folder + "/inputs", "-o", "b"}).code == 0);
  CHECK(contents(box / "a/logits.npy") == contents(box / "b/logits.npy"));
  const Result other =
      box.run({"run", "out", "--input", "input_ids=@out/plan.json.pb", "--input", "attention_mask=ones", "-o", "c"});
  CHECK(other.code == 66);
  write_text(box / "in/input_ids.pb", "hello");
  const Result text = box.run({"run", "out", "--inputs-dir", "in", "-o", "c"});
  CHECK(text.code == 65);
  CHECK(text.line() == "in/input_ids.pb: not an ONNX tensor");
  CHECK(!fs::exists(box / "c"));
}

TEST_CASE("a batch that is cut over a mesh axis is whole in the outputs, and the plan lists every meeting") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny");
  write_text(box / "s.txt", "input_ids [data, _]\nattention_mask [data, _]\n");
  REQUIRE(box.run({folder + "/model.onnx", "--devices", "2", "-o", "one"}).code == 0);
  REQUIRE(box.run({folder + "/model.onnx", "--mesh", "data=2,tensor=2", "--sharding", "s.txt", "-o", "two"}).code == 0);
  CHECK(contents(box / "two/plan.json").find("\"dims/batch\"") != std::string::npos);
  for (const char* out : {"one", "two"})
    REQUIRE(box.run({"run", out, "--inputs-dir", folder + "/inputs", "-o", std::string(out) + ".res"}).code == 0);
  CHECK(difference(floats(box / "one.res/logits.npy"), floats(box / "two.res/logits.npy")) < 1e-5);
  CHECK(box.run({"check", folder + "/model.onnx", "--mesh", "data=2,tensor=2", "--sharding", "s.txt", "--inputs-dir",
                 folder + "/inputs"})
            .code == 0);
}

TEST_CASE("an id outside the whole table is refused on every number of devices, with and without the plan's word") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny");
  for (int64_t id : {257, -258}) {
    CAPTURE(id);
    HostArray ids{DType::i64, {1, 2}, std::vector<char>(16)};
    std::memcpy(ids.bytes.data(), &id, 8);
    REQUIRE(!write_npy(box / "ids.npy", ids));
    for (const char* devices : {"1", "2", "3"}) {
      REQUIRE(box.run({folder + "/model.onnx", "--devices", devices, "-o", "out"}).code == 0);
      const std::vector<std::string> command = {
          "run", "out", "--input", "input_ids=@ids.npy", "--input", "attention_mask=ones", "-o", "res"};
      const Result told = box.run(command);
      CHECK(told.code == 65);
      CHECK(told.line() == "ids.npy: input 'input_ids': index " + std::to_string(id) +
                               " is outside the 257 rows of the table it chooses from");
      std::string plan = contents(box / "out/plan.json");
      plan.replace(plan.find("\"rows\":257"), 10, "\"rows\":999");
      write_text(box / "out/plan.json", plan);
      const Result graph = box.run(command + std::vector<std::string>{"--no-verify"});
      CHECK(graph.code == 65);
      CHECK(graph.line().find("index " + std::to_string(id)) != std::string::npos);
      CHECK(!fs::exists(box / "res"));
    }
  }
}

TEST_CASE("names of dims may be any text: each is one extent in plan, run, check and training") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny");
  std::string model = contents(folder + "/model.onnx");
  // dim_param is field 2 of a dim: tag, length, text. Names of the same lengths keep the file whole.
  for (auto [from, to] : {std::pair{"batch", "b-t h"}, {"sequence", "seq-len8"}}) {
    const std::string head = std::string("\x12") + char(std::string(from).size());
    size_t found = 0;
    for (size_t at = 0; (at = model.find(head + from, at)) != std::string::npos; ++found)
      model.replace(at, head.size() + std::string(to).size(), head + to);
    REQUIRE(found > 0);
  }
  write_text(box / "m.onnx", model);
  REQUIRE(box.run({"m.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const std::string plan = contents(box / "out/plan.json");
  CHECK(plan.find("\"b-t h\":{") != std::string::npos);
  CHECK(plan.find("\"seq-len8\":{") != std::string::npos);
  REQUIRE(box.run({folder + "/model.onnx", "--devices", "2", "-o", "plain"}).code == 0);
  for (const char* out : {"out", "plain"})
    REQUIRE(box.run({"run", out, "--inputs-dir", folder + "/inputs", "-o", std::string(out) + ".res"}).code == 0);
  CHECK(contents(box / "out.res/logits.npy") == contents(box / "plain.res/logits.npy"));
  const std::vector<std::string> dims = {"--dim", "b-t h=2", "--dim", "seq-len8=8"};
  CHECK(box.run(std::vector<std::string>{"run", "out", "--input", "input_ids=rand(1)", "--input", "attention_mask=ones",
                                         "-o", "drawn"} +
                dims)
            .code == 0);
  CHECK(box.run(std::vector<std::string>{"check", "m.onnx", "--devices", "2"} + dims).code == 0);
  CHECK(box.run({"check", "m.onnx", "--devices", "2", "--inputs-dir", folder + "/inputs"}).code == 0);
  CHECK(box.run({"inspect", "out"}).out.find("b-t h 1") != std::string::npos);
  CHECK(box.run({"bench", "m.onnx", "--devices", "2"}).line() ==
        "dim 'b-t h' has no value: give --dim \"b-t h=NUMBER\"");
  REQUIRE(box.run({"m.onnx", "--devices", "3", "--train", "-o", "step"}).code == 0);
  CHECK(box.run({"run", "step", "--inputs-dir", folder + "/inputs", "--input", "labels=ones", "-o", "trained"}).code ==
        0);
}

TEST_CASE("results replace those of an earlier run, other files only when told to, and inputs never") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny");
  REQUIRE(box.run({folder + "/model.onnx", "-o", "out"}).code == 0);
  fs::copy(folder + "/inputs", box / "in", fs::copy_options::recursive);
  const auto run = [&](const std::string& to, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"run", "out", "--inputs-dir", "in", "-o", to};
    words.insert(words.end(), more.begin(), more.end());
    return box.run(words);
  };
  for (int k = 0; k < 2; ++k) CHECK(run("res").code == 0);
  const std::string logits = contents(box / "res/logits.npy");
  write_text(box / "res/notes.txt", "mine");
  const Result occupied = run("res");
  CHECK(occupied.code == 73);
  CHECK(occupied.line() ==
        "res: the folder holds a file that is no result of this run, 'notes.txt'; choose another folder, or "
        "--overwrite to lose what is there");
  CHECK(run("res", {"--overwrite"}).code == 0);
  CHECK(!fs::exists(box / "res/notes.txt"));
  CHECK(contents(box / "res/logits.npy") == logits);
  for (const auto& [to, holds] : {std::pair{"in", "in"}, {"out", "out"}, {".", "in"}, {"in/../out", "out"}}) {
    CAPTURE(to);
    const auto before = box.names();
    const Result r = run(to, {"--overwrite"});
    CHECK(r.code == 73);
    CHECK(r.line() ==
          std::string(to) + ": the folder holds an input of this run, '" + holds + "'; choose another folder");
    CHECK(box.names() == before);
  }
  fs::create_directories(box / "ids");
  fs::copy(box / "in/input_ids.npy", box / "ids/mine.npy");
  CHECK(box.run({"run", "out", "--input", "input_ids=@ids/mine.npy", "--input", "attention_mask=ones", "-o", "ids",
                 "--overwrite"})
            .line() == "ids: the folder holds an input of this run, 'ids/mine.npy'; choose another folder");
}

TEST_CASE("interrupted or terminated, a verb leaves nothing half-written and says by its exit code which it was") {
  const Sandbox box;
  REQUIRE(box.run({"build", "opt-125m", "-o", "m.onnx", "--layers", "2"}).code == 0);
  const auto before = box.names();
  for (int signal : {SIGINT, SIGTERM})
    for (int delay_ms : {1, 20, 60, 150}) {
      for (const auto& command : {std::vector<std::string>{"m.onnx", "-o", "out"},
                                  {"build", "opt-125m", "-o", "n.onnx"},
                                  {"check", "m.onnx", "--dim", "batch=1", "--dim", "sequence=64"}}) {
        CAPTURE(command[0]);
        CAPTURE(delay_ms);
        const Result r = box.run(command, {.meanwhile = [&](pid_t child) {
                                   std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
                                   ::kill(child, signal);
                                 }});
        CHECK((r.code == 0 || r.code == 128 + signal));
        // What is there is whole: the signal came after it was put in place.
        if (fs::exists(box / "out")) CHECK(fs::exists(box / "out/manifest.json"));
        for (const char* done : {"out", "n.onnx", "n.onnx.data"}) fs::remove_all(box / done);
        CHECK(box.names() == before);
      }
    }
}
