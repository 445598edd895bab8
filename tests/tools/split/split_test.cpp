// Runs of several processes that hold some of the ranks each give what one process gives that holds all: the same
// files, the same stdout, the same errors.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string opt_tiny = export_of("opt-tiny") + "/model.onnx";
const std::string inputs = export_of("opt-tiny") + "/inputs";

// Which ranks each process holds.
const std::vector<std::pair<int, std::string>> splits{{3, "0,1/2"}, {4, "0/1,2/3"}, {4, "1,3/0,2"}};

class Both {
 public:
  const Sandbox box;
  Result whole(const std::vector<std::string>& words) const { return box.run(words); }
  Result split(const std::string& held, std::vector<std::string> words, Sandbox::Options options = {}) const {
    words.insert(words.begin(), held);
    options.program = OPTP_SPLIT_PROGRAM;
    return box.run(words, options);
  }
  void partition(const std::string& model, int devices, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"partition", model, "--devices", std::to_string(devices), "-o", "plan", "--overwrite"});
    REQUIRE(box.run(more).code == 0);
  }
  llvm::json::Value json(const std::string& file) const {
    return llvm::cantFail(llvm::json::parse(contents(box / file)));
  }
};
void same(const Result& a, const Result& b) {
  CHECK(a.code == b.code);
  CHECK(a.out == b.out);
  CHECK(a.err == b.err);
}
// What a timeline tells but the times: how many slices of what each rank has.
std::map<std::string, int> slices(const llvm::json::Value& trace) {
  std::map<std::string, int> out;
  for (const auto& each : *trace.getAsObject()->getArray("traceEvents")) {
    const auto& e = *each.getAsObject();
    if (e.getString("ph") != llvm::StringRef("X")) continue;
    const auto* arguments = e.getObject("args");
    ++out[std::to_string(*e.getInteger("pid")) + " " + e.getString("name")->str() + " " +
          arguments->getString("value").value_or("").str()];
  }
  return out;
}
}  // namespace

TEST_CASE("run: outputs and the timeline of all ranks") {
  for (const auto& [devices, held] : splits) {
    CAPTURE(held);
    const Both both;
    both.partition(opt_tiny, devices);
    const std::vector<std::string> words{"run", "plan", "--inputs-dir", inputs,     "--threads-per-device",
                                         "1",   "-o",   "out",          "--profile"};
    const Result a = both.whole(words + std::vector<std::string>{"a.json"});
    fs::rename(both.box / "out", both.box / "a");
    const Result b = both.split(held, words + std::vector<std::string>{"b.json"});
    CHECK(a.code == 0);
    same(a, b);
    both.box.same_folders("a", "out");
    const auto expected = slices(both.json("a.json"));
    CHECK(slices(both.json("b.json")) == expected);
    CHECK(expected.size() > 20 * size_t(devices));
  }
}

TEST_CASE("run: a process reads the weights of its own ranks alone, and compares them with their hashes") {
  const Both both;
  both.partition(opt_tiny, 3);
  const std::vector<std::string> words{"--inputs-dir", inputs, "--threads-per-device", "1", "-o", "out"};
  REQUIRE(both.whole(std::vector<std::string>{"run", "plan"} + words).err == "");
  fs::rename(both.box / "out", both.box / "a");
  auto damage = [&](const std::string& folder, int rank) {
    const std::string file = both.box / folder + "/rank" + std::to_string(rank) + "/model.onnx.data";
    write_text(file, std::string(contents(file).size(), 'x'));
  };
  for (const char* folder : {"plan0", "plan1"})
    fs::copy(both.box / "plan", both.box / folder, fs::copy_options::recursive);
  damage("plan0", 1), damage("plan1", 0), damage("plan1", 2);
  REQUIRE(both.split("0,2/1", std::vector<std::string>{"run", "plan%p"} + words).err == "");
  both.box.same_folders("a", "out");
  damage("plan1", 1);
  CHECK(both.split("0,2/1", std::vector<std::string>{"run", "plan%p"} + words)
            .line()
            .find("plan1/rank1/model.onnx.data: BLAKE3") == 0);
}

TEST_CASE("run of a training plan: losses, gradients, parameters and state, also where a rank has no heads") {
  struct Model {
    std::string path, inputs;
    int devices;
    std::string held;
  };
  const std::string encoder_decoder = OPTP_TEST_DATA "/encoder-decoder/";
  for (const Model& m : {Model{opt_tiny, inputs, 3, "0,1/2"},
                         {encoder_decoder + "model.onnx", encoder_decoder + "inputs", 5, "0,3/1,2/4"}}) {
    CAPTURE(m.path);
    const Both both;
    both.partition(m.path, m.devices, {"--train", "--accumulate", "2"});
    const std::vector<std::string> words{"run",
                                         "plan",
                                         "--inputs-dir",
                                         m.inputs,
                                         "--input",
                                         "labels=ones",
                                         "--steps",
                                         "2",
                                         "--dump",
                                         "gradients,parameters,state",
                                         "--threads-per-device",
                                         "1",
                                         "-o",
                                         "out"};
    const Result a = both.whole(words);
    REQUIRE(a.err == "");
    fs::rename(both.box / "out", both.box / "a");
    same(a, both.split(m.held, words));
    both.box.same_folders("a", "out");
  }
}

TEST_CASE("train: checkpoints that each process writes its part of, and that any other run goes on from") {
  std::string tokens;
  for (int k = 0; k < 600; ++k) tokens += char((k * k * 7 + k) % 250), tokens += char(0);
  for (const auto& [devices, held] : splits) {
    CAPTURE(held);
    const Both both;
    write_text(both.box / "t.bin", tokens);
    const std::vector<std::string> words{
        "train", opt_tiny, "--devices", std::to_string(devices), "--threads-per-device", "1", "--data", "t.bin"};
    const std::vector<std::string> begin =
        words + std::vector<std::string>{"--batch",         "4",   "--sequence",   "16", "--accumulate", "2",
                                         "--max-grad-norm", "0.5", "--save-every", "2",  "--epochs",     "2",
                                         "--max-steps",     "3"};
    REQUIRE(both.whole(begin + std::vector<std::string>{"--save", "a", "--log", "a.log"}).err == "");
    REQUIRE(both.split(held, begin + std::vector<std::string>{"--save", "b", "--log", "b.log"}).err == "");
    both.box.same_folders("a", "b");
    const std::string log = contents(both.box / "b.log");
    CHECK(std::count(log.begin(), log.end(), 10) == 3);
    // Each goes on from the other's.
    REQUIRE(both.whole(words + std::vector<std::string>{"--resume", "b", "--save", "c"}).err == "");
    REQUIRE(both.split(held, words + std::vector<std::string>{"--resume", "a", "--plot", "p.svg"}).err == "");
    both.box.same_folders("c", "a");
    CHECK(contents(both.box / "p.svg").find("<svg") != std::string::npos);
    // Nothing is left beside them.
    for (const std::string& name : both.box.names()) CHECK(name[0] != '.');
  }
}

TEST_CASE("train: a signal stops all processes after the same step, which is saved") {
  const Both both;
  write_text(both.box / "t.bin", std::string(4000, 1));
  const auto lines = [&] {
    const std::string log = contents(both.box / "log");
    return std::count(log.begin(), log.end(), 10);
  };
  const Result r = both.split("0/1,2",
                              {"train",
                               opt_tiny,
                               "--devices",
                               "3",
                               "--token-type",
                               "uint8",
                               "--data",
                               "t.bin",
                               "--batch",
                               "4",
                               "--sequence",
                               "16",
                               "--epochs",
                               "100000",
                               "--save",
                               "run",
                               "--log",
                               "log",
                               "--threads-per-device",
                               "1"},
                              {.in_child = {}, .meanwhile = [&](pid_t child) {
                                 for (int k = 0; k < 20000 && lines() < 2; ++k) ::usleep(1000);
                                 ::kill(child, SIGINT);
                               }});
  CHECK(r.code == 130);
  const auto checkpoint = both.json("run/checkpoint.json");
  const auto step = *checkpoint.getAsObject()->getInteger("step");
  CHECK(step == lines());
  CHECK(r.line().find("interrupted after step " + std::to_string(step)) == 0);
}

TEST_CASE("check: the same comparisons and the same report, of a model that holds and of one that does not") {
  for (const auto& [devices, held] : splits) {
    CAPTURE(held);
    const Both both;
    for (const std::vector<std::string>& more :
         {std::vector<std::string>{},
          {"--mutant", "drop-all-reduce:1"},
          {"--inputs-dir", inputs, "--golden", export_of("opt-tiny") + "/golden"}}) {
      const std::vector<std::string> words = std::vector<std::string>{"check",
                                                                      opt_tiny,
                                                                      "--devices",
                                                                      std::to_string(devices),
                                                                      "--threads-per-device",
                                                                      "1",
                                                                      "--dim",
                                                                      "batch=2",
                                                                      "--dim",
                                                                      "sequence=9",
                                                                      "--json",
                                                                      "check.json"} +
                                             more;
      const Result a = both.whole(words);
      const std::string json = contents(both.box / "check.json");
      same(a, both.split(held, words));
      CHECK(contents(both.box / "check.json") == json);
      CHECK(a.code == (more.size() == 2 ? 1 : 0));
    }
  }
}

TEST_CASE("check --train: the same report") {
  const Both both;
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--mutant", "swapped-betas"}}) {
    const std::vector<std::string> words =
        std::vector<std::string>{"check",   opt_tiny, "--devices",  "3",       "--threads-per-device", "1",  "--dim",
                                 "batch=2", "--dim",  "sequence=5", "--train", "--max-grad-norm",      "0.5"} +
        more;
    const Result a = both.whole(words);
    same(a, both.split("0,2/1", words));
    CHECK(a.code == (more.empty() ? 0 : 1));
  }
}

TEST_CASE("bench: numbers of all ranks") {
  const Both both;
  const std::vector<std::string> words{"bench", opt_tiny,     "--devices", "3",     "--threads-per-device",
                                       "1",     "--runs",     "2",         "--dim", "batch=1",
                                       "--dim", "sequence=8", "--json"};
  REQUIRE(both.whole(words + std::vector<std::string>{"a.json"}).err == "");
  REQUIRE(both.split("0/1,2", words + std::vector<std::string>{"b.json", "--profile", "trace.json"}).err == "");
  const auto a = both.json("a.json"), b = both.json("b.json");
  for (const char* member : {"devices", "threads_per_device", "runs", "parameter_bytes", "arena_bytes"}) {
    CAPTURE(member);
    CHECK(*a.getAsObject()->get(member) == *b.getAsObject()->get(member));
  }
  std::set<char> ranks;
  for (const auto& [slice, count] : slices(both.json("trace.json"))) ranks.insert(slice[0]);
  CHECK(ranks == std::set<char>{'0', '1', '2'});
}

TEST_CASE("errors: what one process finds is told as if it were the only one") {
  const Both both;
  both.partition(opt_tiny, 3);
  const std::vector<std::string> words{"run", "plan", "--inputs-dir", inputs, "--threads-per-device", "1", "-o", "out"};
  auto same_line = [&](const std::string& part) {
    CAPTURE(part);
    const Result a = both.whole(words), b = both.split("0,1/2", words);
    CHECK(a.code != 0);
    same(a, b);
    CHECK(a.line().find(part) != std::string::npos);
    CHECK(!fs::exists(both.box / "out"));
  };
  // In a file that only the second process reads whole.
  const std::string file = both.box / "plan/rank2/model.onnx.data", bytes = contents(file);
  std::string damaged = bytes;
  damaged[bytes.size() / 2] ^= 1;
  write_text(file, damaged);
  same_line("plan/rank2/model.onnx.data: BLAKE3");
  fs::remove(file);
  same_line("plan/rank2/model.onnx.data: expected a file that is in the manifest");
  write_text(file, bytes);
  // At the root alone: what is written.
  write_text(both.box / "out", "a file");
  CHECK(both.split("0,1/2", words).line().find("out: ") == 0);
  CHECK(both.split("1,2/0", words).code == 73);
  fs::remove(both.box / "out");
  // Before there is a world.
  write_text(both.box / "plan/plan.json", "{}");
  same_line("plan/plan.json");
}
