// What must never be: a checkpoint that is torn or of another run, a resumed run that is not the one that was stopped.
#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/tools/train/trainer.h"

using namespace optp;

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
    CHECK(to_string(after.run().mesh) == "tensor=" + std::to_string(devices));
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
