// train, run as users run it: what it learns, and what it refuses before the first step.
#include <doctest/doctest.h>

#include <cstring>

#include "frontend/io/npy.h"
#include "frontend/ir/dtype.h"
#include "llvm/Support/JSON.h"
#include "tests/tools/train/trainer.h"
#include "tools/train/tokens.h"

using namespace optp;

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
