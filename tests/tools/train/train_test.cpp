// train and export, run as users run them. What must never be: a checkpoint that is torn or of another run, a resumed
// run that is not the one that was stopped, weights under a wrong name.
#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>
#include <time.h>

#include <cstring>
#include <map>

#include "frontend/io/npy.h"
#include "frontend/ir/dtype.h"
#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"
#include "tools/train/checkpoint.h"
#include "tools/train/tokens.h"

using namespace optp;

namespace {
const std::string opt_tiny = export_of("opt-tiny") + "/model.onnx";

// 600 tokens of a small language that can be learned: mostly each id says the next. 257 is opt-tiny's vocabulary.
std::string corpus(size_t count = 600) {
  std::vector<uint16_t> ids{1};
  uint64_t state = 12345;
  while (ids.size() < count) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(state >> 60 == 0 ? uint16_t(state >> 33) % 61 : uint16_t((ids.back() * 7 + 3) % 61));
  }
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * 2};
}
struct Trainer {
  Sandbox box;
  Trainer() { write_text(box / "t.bin", corpus()); }
  std::vector<std::string> words(const std::vector<std::string>& more, const std::string& model = opt_tiny,
                                 int devices = 2) const {
    std::vector<std::string> out{"train", model,    "--devices", std::to_string(devices), "--threads-per-device",
                                 "1",     "--data", "t.bin"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Result train(const std::vector<std::string>& more, const std::string& model = opt_tiny, int devices = 2) const {
    return box.run(words(more, model, devices));
  }
  Checkpoint checkpoint(const std::string& folder) const { return llvm::cantFail(Checkpoint::open(box / folder)); }
  bool equal(const std::string& a, const std::string& b) const {
    for (const auto& entry : fs::directory_iterator(box / a))
      if (contents(entry.path()) != contents(box / b + "/" + entry.path().filename().string())) return false;
    return true;
  }
  size_t log_lines() const {
    const std::string text = contents(box / "log");
    return size_t(std::count(text.begin(), text.end(), '\n'));
  }
  void wait_for_steps(size_t n) const {
    for (int k = 0; k < 20000 && log_lines() < n; ++k) ::usleep(1000);
  }
};
const std::vector<std::string> small{"--batch", "8", "--sequence", "16", "--epochs", "4", "--lr", "0.01"};

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

TEST_CASE("the loss falls, and log, plot and summary tell of it") {
  const Trainer t;
  const Result r = t.train(small + std::vector<std::string>{"--save", "run", "--log", "log", "--plot", "loss.svg"});
  CHECK(r.code == 0);
  CHECK(r.err == "");
  CHECK(r.out.find("run: step 20 of 20, 4 epochs of 4 done\n") == 0);
  const Checkpoint c = t.checkpoint("run");
  REQUIRE(c.run().losses.size() == 20);
  CHECK(c.run().losses.front() > 5);
  CHECK(c.run().losses.back() < 2.5);
  CHECK(t.log_lines() == 20);
  std::istringstream log(contents(t.box / "log"));
  std::string line;
  int64_t tokens = 0;
  for (size_t k = 0; std::getline(log, line); ++k) {
    const auto json = llvm::cantFail(llvm::json::parse(line));
    CHECK(json.getAsObject()->getNumber("loss") == c.run().losses[k]);
    CHECK(json.getAsObject()->getInteger("epoch") == int64_t(k / 5 + 1));
    tokens += json.getAsObject()->getInteger("tokens").value_or(0);
  }
  CHECK(tokens == 4 * 600);  // every token once an epoch: what fills up the last sequence does not count
  CHECK(contents(t.box / "loss.svg").find("<polyline") != std::string::npos);
}

TEST_CASE("a run goes on with the data that its checkpoint remembers, and says where they were if they are gone") {
  const Trainer t;
  const std::string ids = contents(t.box / "t.bin");
  std::string wide;
  for (size_t k = 0; k < ids.size(); k += 2) wide += ids.substr(k, 2) + std::string(2, '\0');
  write_text(t.box / "wide.bin", wide);
  const std::vector<std::string> head{"train", opt_tiny, "--devices", "2", "--threads-per-device", "1"};
  REQUIRE(t.box
              .run(head + small +
                   std::vector<std::string>{"--data", "wide.bin", "--token-type", "uint32", "--save", "run",
                                            "--max-steps", "3"})
              .code == 0);
  REQUIRE(t.box
              .run(head + small +
                   std::vector<std::string>{"--data", "wide.bin", "--token-type", "uint32", "--save", "whole",
                                            "--max-steps", "6"})
              .code == 0);
  CHECK(t.checkpoint("run").run().position.token_type == "uint32");
  REQUIRE(t.box.run(head + std::vector<std::string>{"--resume", "run", "--max-steps", "6"}).code == 0);
  CHECK(t.equal("run", "whole"));
  fs::rename(t.box / "wide.bin", t.box / "elsewhere.bin");
  const Result gone = t.box.run(head + std::vector<std::string>{"--resume", "run"});
  CHECK(gone.code == 66);
  CHECK(gone.line().find("run: the data of this run; --data FILE says where it is now: ") == 0);
  CHECK(t.box.run(head + std::vector<std::string>{"--resume", "run", "--data", "elsewhere.bin", "--max-steps", "7"})
            .code == 0);
  CHECK(t.box.run(head + std::vector<std::string>{"--save", "other"}).line() ==
        "--data FILE or --inputs-dir DIR: expected one of them, found none");
}

TEST_CASE("a sequence that is longer than the model's positions is refused before the first step") {
  const Trainer t;
  struct Row {
    const char *model, *node, *table;
    int rows;
  };
  // OPT counts positions from 2 on.
  for (const Row& row :
       {Row{"opt-tiny", "/m/decoder/embed_positions/Gather", "m.model.decoder.embed_positions.weight", 66},
        {"gpt2-tiny", "/m/transformer/wpe/Gather", "m.transformer.wpe.weight", 64}}) {
    const std::string model = export_of(row.model) + "/model.onnx";
    CAPTURE(row.model);
    const Result r = t.train({"--sequence", "65", "--batch", "2", "--save", "run"}, model);
    CHECK(r.code == 65);
    CHECK(r.line().find("--sequence 65: node '" + std::string(row.node) + "' (Gather), operand 1 '") == 0);
    CHECK(r.line().find("': index: expected below " + std::to_string(row.rows) + ", the rows of '" + row.table +
                        "', found " + std::to_string(row.rows == 66 ? 66 : 64)) != std::string::npos);
    CHECK(!fs::exists(t.box / "run"));
    CHECK(t.train({"--sequence", "64", "--batch", "2", "--max-steps", "1", "--save", "fits", "--overwrite"}, model)
              .code == 0);
  }
}

TEST_CASE("the example of docs/training.md learns to spell") {
  const Trainer t;
  REQUIRE(t.box
              .run({"build", "opt-125m", "--layers", "2", "--hidden", "64", "--heads", "4", "--ffn", "256", "--vocab",
                    "128", "-o", "tiny.onnx"})
              .code == 0);
  const Result trained = t.box.run({"train",        "tiny.onnx",
                                    "--devices",    "2",
                                    "--data",       OPTP_TEST_DATA "/../../docs/data/harbour.txt",
                                    "--token-type", "uint8",
                                    "--optimizer",  "adamw",
                                    "--lr",         "3e-3",
                                    "--schedule",   "cosine",
                                    "--warmup",     "10",
                                    "--batch",      "8",
                                    "--sequence",   "64",
                                    "--epochs",     "5",
                                    "--max-steps",  "120",
                                    "--save",       "run"});
  CAPTURE(trained.err);
  REQUIRE(trained.code == 0);
  const auto losses = t.checkpoint("run").run().losses;
  CHECK(losses.front() == doctest::Approx(std::log(128)).epsilon(0.03));
  CHECK(losses.back() < 2.2);  // that of the letters' frequencies alone is 2.9
}

TEST_CASE("three steps and three more are six steps, to the bit") {
  for (const char* optimizer : {"adamw", "rmsprop"}) {
    const Trainer t;
    const auto words = small + std::vector<std::string>{"--optimizer", optimizer, "--schedule", "cosine",
                                                        "--warmup",    "2",       "--seed",     "5"};
    REQUIRE(t.train(words + std::vector<std::string>{"--save", "whole", "--max-steps", "7"}).code == 0);
    REQUIRE(t.train(words + std::vector<std::string>{"--save", "parts", "--max-steps", "3", "--log", "log"}).code == 0);
    CHECK(!t.equal("whole", "parts"));
    // What the command line leaves open is as it was; and a log's lines of steps that were lost are written again.
    std::ofstream(t.box / "log", std::ios::app) << "{\"step\":4,\"loss\":1e9}\n";
    const Result r = t.train({"--resume", "parts", "--max-steps", "7", "--log", "log"});
    CHECK(r.err == "");
    CHECK(t.equal("whole", "parts"));
    CHECK(t.log_lines() == 7);
    CHECK(contents(t.box / "log").find("1e9") == std::string::npos);
  }
}

TEST_CASE("a checkpoint is the same on any number of devices: parameters, state and step, element for element") {
  const Trainer t;
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "two", "--max-steps", "3"}).code == 0);
  const Checkpoint before = t.checkpoint("two");
  size_t state = 0;
  for (int devices : {1, 3, 8}) {
    REQUIRE(
        t.train({"--resume", "two", "--save", "other", "--overwrite", "--max-steps", "3"}, opt_tiny, devices).code ==
        0);
    const Checkpoint after = t.checkpoint("other");
    CHECK(after.run().mesh == "tensor=" + std::to_string(devices));
    CHECK(after.run().step == 3);
    REQUIRE(after.tensors().size() == before.tensors().size());
    for (const CheckpointTensor& tensor : before.tensors()) {
      CAPTURE(tensor.name);
      const CheckpointTensor* other = after.find(tensor.name);
      REQUIRE(other);
      CHECK(llvm::cantFail(before.whole(tensor)).bytes == llvm::cantFail(after.whole(*other)).bytes);
      state += tensor.kind.state_name == "exp_avg_sq";
    }
    // And training goes on: the next loss differs by the order of sums alone.
    REQUIRE(t.train({"--resume", "other", "--max-steps", "4"}, opt_tiny, devices).code == 0);
    REQUIRE(t.train({"--resume", "two", "--save", "next", "--overwrite", "--max-steps", "4"}).code == 0);
    CHECK(t.checkpoint("other").run().losses[3] == doctest::Approx(t.checkpoint("next").run().losses[3]).epsilon(1e-5));
  }
  CHECK(state == 3 * 36);
}

TEST_CASE("a signal ends the step and saves; the run goes on as if nothing had been") {
  for (auto [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const Trainer t;
    const auto words = std::vector<std::string>{"--batch",      "8",       "--sequence", "16",  "--epochs", "100000",
                                                "--save-every", "1000000", "--save",     "run", "--log",    "log"};
    const Result r = t.box.run(t.words(words), {.in_child = {}, .meanwhile = [&, s = signal](pid_t child) {
                                                  t.wait_for_steps(2);
                                                  ::kill(child, s);
                                                }});
    CHECK(r.code == code);
    const auto step = t.checkpoint("run").run().step;
    CHECK(r.line() == "interrupted after step " + std::to_string(step) + " of 500000; run holds it, --resume goes on");
    CHECK(step >= 2);
    CHECK(t.log_lines() == size_t(step));
    const std::string to = std::to_string(step + 2);
    REQUIRE(t.train({"--resume", "run", "--max-steps", to}).code == 0);
    REQUIRE(t.train({"--batch", "8", "--sequence", "16", "--epochs", "100000", "--save", "whole", "--max-steps", to})
                .code == 0);
    CHECK(t.equal("run", "whole"));
  }
}

TEST_CASE("killed at any moment, a run loses the steps since its last checkpoint and nothing else") {
  const Trainer t;
  const auto words = small + std::vector<std::string>{"--save-every", "1", "--log", "log"};
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "whole"}).code == 0);
  unsigned state = 99;
  int kills = 0;
  for (int k = 0; k < 8; ++k) {
    const bool there = fs::exists(t.box / "run/checkpoint.json");
    const size_t lines = there ? t.log_lines() : 0;
    if (!there) fs::remove(t.box / "log");
    const Result r =
        t.box.run(t.words(there ? std::vector<std::string>{"--resume", "run", "--save-every", "1", "--log", "log"}
                                : words + std::vector<std::string>{"--save", "run"}),
                  {.in_child = {}, .meanwhile = [&](pid_t child) {
                     t.wait_for_steps(lines + 2);                               // one checkpoint at least is there
                     ::usleep((state = state * 1664525u + 1013904223u) >> 18);  // up to 16 ms
                     ::kill(child, SIGKILL);
                   }});
    if (r.code == 0) break;  // it was done before
    ++kills;
    CHECK(r.code == 128 + SIGKILL);
    const auto logged = int64_t(t.log_lines());
    CHECK(t.checkpoint("run").run().step >= logged - 1);  // the last line may have come before its checkpoint
  }
  CHECK(kills > 1);
  REQUIRE(t.train({"--resume", "run"}).code == 0);
  CHECK(t.equal("whole", "run"));
  for (const std::string& name : t.box.names()) CHECK(name.find(".tmp-") == std::string::npos);
}

TEST_CASE("a damaged checkpoint is refused, and the file named") {
  const Trainer t;
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "run", "--max-steps", "1"}).code == 0);
  for (const char* file : {"rank0.data", "rank1.data", "checkpoint.json", "manifest.json"}) {
    const std::string path = t.box / "run/" + file, good = contents(path);
    std::string flipped = good;
    flipped[flipped.size() / 2] ^= 1;
    for (const std::string& bad : {flipped, good.substr(0, good.size() - 2), std::string()}) {
      write_text(path, bad);
      for (const auto& words :
           {t.words({"--resume", "run"}), std::vector<std::string>{"export", "run", "-o", "up.onnx"}}) {
        const Result r = t.box.run(words);
        CAPTURE(file);
        CHECK(r.code == 65);
        const bool names_it = r.line().find(std::string("run/") + file) != std::string::npos ||
                              (std::string(file) == "manifest.json" && r.line().find("run/") == 0);
        CHECK_MESSAGE(names_it, r.line());
      }
    }
    fs::remove(path);
    CHECK(t.train({"--resume", "run"}).code == (std::string(file) == "manifest.json" ? 66 : 65));
    write_text(path, good);
  }
  CHECK(t.train({"--resume", "run", "--max-steps", "2"}).code == 0);
}

TEST_CASE("a checkpoint of another run is refused, and why is said") {
  const Trainer t;
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "run", "--max-steps", "1"}).code == 0);
  write_text(t.box / "other.bin", corpus(500));
  auto refused = [&](const std::vector<std::string>& words, int code, const std::string& what,
                     const std::string& model = opt_tiny) {
    const Result r = t.train(words, model);
    CHECK(r.code == code);
    CHECK_MESSAGE(r.line().find(what) != std::string::npos, r.line());
  };
  const std::vector<std::string> resume{"--resume", "run"};
  refused(resume, 65, "run: a checkpoint of another model", export_of("opt-tiny-fp16") + "/model.onnx");
  refused(resume + std::vector<std::string>{"--optimizer", "sgd"}, 65,
          "run: optimizer: expected sgd, as the command line says, found adam");
  refused(resume + std::vector<std::string>{"--betas", "0.5,0.9"}, 65, "run: optimizer: expected adam with beta1 0.5");
  refused(resume + std::vector<std::string>{"--freeze", "*fc1*"}, 65, "run: ");
  refused(resume + std::vector<std::string>{"--sequence", "8"}, 65,
          "run: sequences of 16 tokens: found --sequence 8; --rewind begins");
  refused(resume + std::vector<std::string>{"--seed", "8"}, 65,
          "run: data in the order of --seed 0: found 8; --rewind begins");
  refused(resume + std::vector<std::string>{"--data", "other.bin"}, 2, "--data");  // given twice
  Result r = t.box.run({"train", opt_tiny, "--devices", "2", "--data", "other.bin", "--resume", "run"});
  CHECK(r.code == 65);
  CHECK(r.line().find("run: it is in the middle of other data") == 0);
  r = t.box.run(
      {"train", opt_tiny, "--devices", "2", "--data", "other.bin", "--resume", "run", "--rewind", "--max-steps", "2"});
  CHECK(r.code == 0);
  // A default spelled out is the same optimizer.
  r = t.box.run({"train", opt_tiny, "--devices", "2", "--data", "other.bin", "--resume", "run", "--betas", "0.9,0.999",
                 "--weight-decay", "0", "--max-steps", "3"});
  CHECK(r.code == 0);
  refused(small + std::vector<std::string>{"--save", "run"}, 73, "run: the folder is not empty; give --resume run");
  refused(small + std::vector<std::string>{"--resume", "nowhere"}, 66, "nowhere");
}

TEST_CASE("tokens beyond the vocabulary are refused with their place; wrong words are usage errors") {
  const Trainer t;
  std::string bytes = corpus();
  const uint16_t beyond = 257;
  std::memcpy(bytes.data() + 2 * 123, &beyond, 2);
  write_text(t.box / "t.bin", bytes);
  auto refused = [&](const std::vector<std::string>& words, int code, const std::string& line) {
    const Result r = t.train(words);
    CHECK(r.code == code);
    CHECK(r.line() == line);
    CHECK(!fs::exists(t.box / "run"));
  };
  const std::vector<std::string> save{"--save", "run"};
  refused(small + save, 65, "t.bin: token 123: expected an id from 0 to 256, the model's vocabulary, found 257");
  write_text(t.box / "t.bin", bytes.substr(0, 101));
  refused(small + save, 65, "t.bin: size: expected a multiple of 2 bytes, as uint16 has, found 101");
  write_text(t.box / "t.bin", bytes.substr(0, 2));
  refused(small + save, 65, "t.bin: tokens: expected at least 2, found 1");
  write_text(t.box / "t.bin", corpus());
  refused(small, 2, "--save DIR: expected a folder for the checkpoints, found none");
  refused(save + std::vector<std::string>{"--epochs", "0"}, 2, "--epochs 0: expected at least 1");
  CHECK(t.train(save + std::vector<std::string>{"--accumulate", "0"}).code == 2);
  refused(save + std::vector<std::string>{"--lr", "-1"}, 2,
          "--lr: expected a finite float32 number of at least 0, found -1");
  refused(save + std::vector<std::string>{"--inputs-dir", "in"}, 2,
          "--data FILE or --inputs-dir DIR: expected one of them, found both");
  refused(save + std::vector<std::string>{"--sequence", "1"}, 2, "--sequence 1: expected at least 2");
  refused(save + std::vector<std::string>{"--batch", "0"}, 2, "--batch 0: expected at least 1");
  refused(save + std::vector<std::string>{"--schedule", "step"}, 2,
          "--schedule 'step': expected constant, linear or cosine");
  refused(save + std::vector<std::string>{"--token-type", "int8"}, 2,
          "--token-type 'int8': expected uint8, uint16, uint32, int32 or int64");
  refused(save + std::vector<std::string>{"--log", "t.bin"}, 73, "--log t.bin: it is an input of this run");
  refused(std::vector<std::string>{"--save", "none/run", "--sequence", "16"}, 73,
          "none/run: its parent folder cannot be opened: no such file or directory");
}

TEST_CASE("a negative id is refused with its place") {
  const Trainer t;
  std::vector<int32_t> ids(64, 5);
  ids[17] = -1;
  write_text(t.box / "t.bin", std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * 4));
  CHECK(t.train({"--token-type", "int32", "--save", "run"}).line() ==
        "t.bin: token 17: expected an id from 0 to 256, the model's vocabulary, found -1");
}

TEST_CASE(
    "a checkpoint's numbers are judged as the command line's; the parameters without decay are a part of the "
    "optimizer") {
  const Trainer t;
  const std::vector<std::string> decay{"--optimizer", "adamw", "--weight-decay", "0.5",
                                       "--no-decay",  "*bias", "--no-decay",     "*norm*"};
  REQUIRE(t.train(small + decay + std::vector<std::string>{"--save", "whole", "--max-steps", "4"}).code == 0);
  REQUIRE(t.train(small + decay + std::vector<std::string>{"--save", "run", "--max-steps", "2"}).code == 0);
  REQUIRE(t.train(small + std::vector<std::string>{"--optimizer", "adamw", "--weight-decay", "0.5", "--save", "all",
                                                   "--max-steps", "2"})
              .code == 0);
  CHECK(t.checkpoint("run").run().losses[1] != t.checkpoint("all").run().losses[1]);
  CHECK(t.checkpoint("run").run().no_decay == std::vector<std::string>{"*bias", "*norm*"});
  const Result other = t.train({"--resume", "run", "--no-decay", "*bias"});
  CHECK(other.code == 65);
  CHECK(other.line() == "run: --no-decay: expected '*bias', as the command line says, found '*bias', '*norm*'");
  CHECK(t.train({"--resume", "run", "--lr", "nan"}).line() ==
        "--lr: expected a finite float32 number of at least 0, found nan");
  REQUIRE(t.train({"--resume", "run", "--max-steps", "4"}).code == 0);  // what is left open is as it was
  CHECK(t.equal("whole", "run"));
}

namespace {
HostArray tokens_of(llvm::ArrayRef<int64_t> dims, int64_t seed, int64_t below) {
  Array a;
  a.resize(false, dims);
  for (size_t k = 0; k < a.i.size(); ++k) a.i[k] = below ? int64_t(k * k + 7 * k + size_t(seed) * 13) % below : 1;
  return host_array(a, DType::i64);
}
// `count` folders of arrays, of two shapes; the labels are the ids.
void write_batches(const Sandbox& box, const std::string& folder, int count) {
  for (int k = 0; k < count; ++k) {
    const std::string path = box / folder + "/b" + std::to_string(k);
    fs::create_directories(path);
    const std::vector<int64_t> dims{2, k % 2 ? 9 : 12};
    REQUIRE(!write_npy(path + "/input_ids.npy", tokens_of(dims, k, 61)));
    REQUIRE(!write_npy(path + "/labels.npy", tokens_of(dims, k, 61)));
    REQUIRE(!write_npy(path + "/attention_mask.npy", tokens_of(dims, k, 0)));
  }
}
}  // namespace

TEST_CASE("train takes folders of arrays: each once an epoch, and resumed it goes on to the bit") {
  const Trainer t;
  write_batches(t.box, "in", 5);
  auto train = [&](const std::vector<std::string>& more, int devices = 2) {
    return t.box.run(std::vector<std::string>{"train", opt_tiny, "--devices", std::to_string(devices),
                                              "--threads-per-device", "1", "--inputs-dir", "in"} +
                     more);
  };
  const std::vector<std::string> words{"--epochs", "3", "--lr", "0.01", "--seed", "3"};
  Result r = train(words + std::vector<std::string>{"--save", "whole", "--log", "log"});
  CHECK(r.err == "");
  CHECK(r.out.find("whole: step 15 of 15, 3 epochs of 3 done\n") == 0);
  const auto losses = t.checkpoint("whole").run().losses;
  REQUIRE(losses.size() == 15);
  CHECK(losses.back() < losses.front() - 0.5);
  CHECK(contents(t.box / "log").find("\"tokens\":24") != std::string::npos);
  // The first epoch's losses are of the folders in the order that the seed says: one step on its folder alone loses the
  // same.
  const int64_t first = shuffled(5, 3, 0)[0];
  REQUIRE(t.box.run({opt_tiny, "--train", "--devices", "2", "-o", "step"}).code == 0);
  REQUIRE(t.box.run({"run", "step", "--inputs-dir", "in/b" + std::to_string(first), "-o", "res"}).code == 0);
  CHECK(llvm::cantFail(llvm::json::parse(contents(t.box / "res/index.json")))
            .getAsObject()
            ->getArray("losses")
            ->front()
            .getAsNumber()
            .value_or(0) == doctest::Approx(losses[0]).epsilon(1e-6));

  REQUIRE(train(words + std::vector<std::string>{"--save", "run", "--max-steps", "7"}).code == 0);
  REQUIRE(train({"--resume", "run"}).code == 0);
  CHECK(t.equal("whole", "run"));
  REQUIRE(train(words + std::vector<std::string>{"--accumulate", "2", "--save", "two"}, 3).code == 0);
  CHECK(t.checkpoint("two").run().losses.size() == 9);  // 2 + 2 + 1 folders, three times

  // Other data, in any of its files, is another run.
  REQUIRE(train(words + std::vector<std::string>{"--save", "some", "--max-steps", "2"}).code == 0);
  REQUIRE(!write_npy(t.box / "in/b4/input_ids.npy", tokens_of({2, 12}, 99, 61)));
  CHECK(train({"--resume", "some"}).line().find("some: it is in the middle of other data") == 0);
  CHECK(train({"--resume", "some", "--rewind", "--max-steps", "3"}).code == 0);
}

TEST_CASE("folders that cannot be trained on are refused before the first step, by name") {
  const Trainer t;
  write_batches(t.box, "in", 3);
  auto refused = [&](int code, const std::string& line, const std::vector<std::string>& more = {}) {
    const Result r = t.box.run(
        std::vector<std::string>{"train", opt_tiny, "--devices", "2", "--inputs-dir", "in", "--save", "run"} + more);
    CHECK(r.code == code);
    CHECK_MESSAGE(r.line().find(line) == 0, r.line());
    CHECK(!fs::exists(t.box / "run"));
  };
  refused(2, "--batch 4: needs --data", {"--batch", "4"});
  refused(2, "--sequence 4: needs --data", {"--sequence", "4"});
  refused(2, "--token-type: needs --data", {"--token-type", "int32"});
  refused(73, "--log in/b0/labels.npy: it is an input of this run", {"--log", "in/b0/labels.npy"});
  const std::string labels = t.box / "in/b1/labels.npy", good = contents(labels);
  auto label = [&](int64_t value) {
    HostArray a = tokens_of({2, 9}, 1, 61);
    std::memcpy(a.bytes.data() + 8 * 12, &value, 8);
    REQUIRE(!write_npy(labels, a));
  };
  label(257);
  refused(65,
          "in/b1: input 'labels': index [1, 3]: expected an id from 0 to 256, the model's classes, or -100, which does "
          "not count, found 257");
  REQUIRE(!write_npy(labels, tokens_of({2, 8}, 1, 61)));
  refused(65, "in/b1: input 'labels', dim 1 (sequence): expected 9, found 8");
  fs::remove(labels);
  refused(66, "in/b1/labels.npy");
  write_text(labels, good);
  fs::remove_all(t.box / "in");
  refused(66, "in: cannot be read");
  fs::create_directories(t.box / "in");
  refused(65, "in: expected a folder for each batch, with an array for each input and labels.npy, found none");
  // A folder without labels is known by the step that has no other.
  write_batches(t.box, "in", 1);
  Array none;
  none.resize(false, {2, 12});
  for (int64_t& x : none.i) x = -100;
  REQUIRE(!write_npy(t.box / "in/b0/labels.npy", host_array(none, DType::i64)));
  refused(65, "step 1, in/b0: labels: expected at least one that counts, found none");
}

TEST_CASE("the same tokens from a .npy file give the same training") {
  const Trainer t;
  HostArray ids{DType::i64, {600}, {}};
  const std::string raw = corpus();
  for (size_t k = 0; k < 600; ++k) {
    uint16_t id;
    std::memcpy(&id, raw.data() + 2 * k, 2);
    const int64_t wide = id;
    ids.bytes.insert(ids.bytes.end(), reinterpret_cast<const char*>(&wide), reinterpret_cast<const char*>(&wide) + 8);
  }
  REQUIRE(!write_npy(t.box / "t.npy", ids));
  REQUIRE(t.train(small + std::vector<std::string>{"--save", "raw", "--max-steps", "2"}).code == 0);
  REQUIRE(t.box
              .run(std::vector<std::string>{"train", opt_tiny, "--devices", "2", "--threads-per-device", "1", "--data",
                                            "t.npy", "--save", "npy", "--max-steps", "2"} +
                   small)
              .code == 0);
  CHECK(contents(t.box / "raw/rank1.data") == contents(t.box / "npy/rank1.data"));
}

TEST_CASE("tokens that fill up a sequence change neither loss nor weights") {
  const Trainer t;
  write_text(t.box / "t.bin", corpus(24));
  REQUIRE(t.train({"--save", "exact", "--sequence", "24"}).code == 0);
  REQUIRE(t.train({"--save", "filled", "--sequence", "40"}).code == 0);
  CHECK(t.checkpoint("exact").run().losses[0] == doctest::Approx(t.checkpoint("filled").run().losses[0]).epsilon(1e-6));
}

TEST_CASE(
    "a step of micro-batches loses what a step of as many sequences does, its last ones included; resumed, it goes on "
    "so") {
  const Trainer t;
  // Seven sequences: of 2 + 2 and 2 + 1 micro-batches, or of 4 and 3 rows.
  write_text(t.box / "t.bin", corpus(7 * 16));
  const std::vector<std::string> words{"--sequence", "16", "--epochs", "2"};
  auto losses = [&](const std::string& folder) { return t.checkpoint(folder).run().losses; };
  REQUIRE(t.train(words + std::vector<std::string>{"--batch", "4", "--save", "rows"}).code == 0);
  REQUIRE(t.train(words + std::vector<std::string>{"--batch", "2", "--accumulate", "2", "--save", "micro"}).code == 0);
  const auto rows = losses("rows"), micro = losses("micro");
  REQUIRE(rows.size() == 4);
  REQUIRE(micro.size() == 4);
  for (size_t k = 0; k < rows.size(); ++k) CHECK(micro[k] == doctest::Approx(rows[k]).epsilon(1e-5));
  REQUIRE(t.train(words +
                  std::vector<std::string>{"--batch", "2", "--accumulate", "2", "--save", "half", "--max-steps", "2"})
              .code == 0);
  REQUIRE(t.train({"--resume", "half"}).code == 0);
  CHECK(losses("half") == micro);
}

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
