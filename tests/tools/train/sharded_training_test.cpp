// What devices share beside weights: optimizer state, gradients and parameters over the mesh axis data (ZeRO), and
// activations along the sequence. Results are those of one device all the same, and a checkpoint goes on with any other
// layout.
#include "llvm/Support/JSON.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
const std::string model = export_of("opt-tiny") + "/model.onnx";
}  // namespace

TEST_CASE("check --train holds for every level of ZeRO and in half precision, where parts are uneven, too") {
  for (const Words& layout : std::vector<Words>{
           {"--mesh", "data=2,tensor=2", "--zero", "1", "--max-grad-norm", "0.5"},
           {"--mesh", "data=3", "--zero", "2", "--accumulate", "2"},
           // A micro-batch before the last one has no norm of the gradients, on no rank.
           {"--mesh", "data=2,tensor=2", "--zero", "1", "--accumulate", "2", "--max-grad-norm", "0.5"},
           {"--mesh", "data=2,tensor=2", "--zero", "3", "--max-grad-norm", "0.5"},
           {"--devices", "3", "--sequence-parallel", "--compute", "bf16"},
           // A tied table's gradient is a sum over both axes, of which one is wanted in chunks.
           {"--mesh", "data=2,tensor=2", "--strategy", "origin", "--sequence-parallel"},
       }) {
    CAPTURE(layout);
    const Sandbox box;
    const Result r = box.run(Words{"check", model, "--train", "--dim", "batch=3", "--dim", "sequence=5"} + layout);
    CAPTURE(r.out);
    CHECK(r.err == "");
    CHECK(r.code == 0);
  }
}

TEST_CASE("ZeRO cuts what stands in several parts of a fused weight in all of them") {
  const Sandbox box;
  for (const char* name : {"bigcode-tiny", "phi3-tiny", "neox-tiny"})
    for (const Words& layout :
         std::vector<Words>{{"--mesh", "data=2", "--zero", "3"},
                            {"--mesh", "data=2,tensor=2", "--strategy", "origin", "--zero", "2"}}) {
      CAPTURE(name);
      CAPTURE(layout);
      const Result r = box.run(
          Words{"check", export_of(name) + "/model.onnx", "--train", "--dim", "batch=2", "--dim", "sequence=5"} +
          layout);
      CAPTURE(r.err);
      CAPTURE(r.out);
      CHECK(r.code == 0);
    }
}

TEST_CASE("--recompute keeps layers' inputs alone, holds beside all else, and costs an all-reduce a layer") {
  const Words dims = {"--dim", "batch=4", "--dim", "sequence=24"};
  for (const Words& layout : std::vector<Words>{{"--devices", "1"},
                                                {"--devices", "3", "--compute", "bf16"},
                                                {"--mesh", "data=2,tensor=2", "--zero", "3", "--max-grad-norm", "0.5"},
                                                {"--devices", "2", "--sequence-parallel", "--accumulate", "2"}}) {
    CAPTURE(layout);
    const Sandbox box;
    const Result r =
        box.run(Words{"check", model, "--train", "--recompute", "--dim", "batch=3", "--dim", "sequence=5"} + layout);
    CAPTURE(r.out);
    CAPTURE(r.err);
    CHECK(r.code == 0);
  }
  const Sandbox box;
  int64_t peak[2], collectives[2];
  for (const bool again : {false, true}) {
    Words command = {"partition", model, "--train", "--devices", "2", "-o", again ? "again" : "kept"};
    if (again) command.push_back("--recompute");
    REQUIRE(box.run(command + dims).code == 0);
    auto plan = llvm::json::parse(contents(box / (again ? "again" : "kept") + "/plan.json"));
    REQUIRE(bool(plan));
    const auto* devices = plan->getAsObject()->getArray("devices");
    peak[again] = *(*devices)[0].getAsObject()->getInteger("activation_peak_bytes");
    collectives[again] = int64_t(plan->getAsObject()->getArray("collectives")->size());
  }
  CHECK(peak[1] * 3 < peak[0] * 2);
  CHECK(collectives[1] == collectives[0] + 2);
  CHECK(box.run({"inspect", "again"}).out.find("--recompute keeps of 2 layers") != std::string::npos);
}

TEST_CASE("--loss-chunks holds beside all else, with chunks of no token, too, and logits do not stand whole") {
  struct Layout {
    Words flags;
    const char* sequence;
  };
  for (const Layout& l :
       std::vector<Layout>{{{"--devices", "1"}, "5"},
                           {{"--devices", "3", "--compute", "bf16"}, "2"},
                           {{"--mesh", "data=2,tensor=2", "--zero", "3", "--max-grad-norm", "0.5"}, "5"},
                           {{"--devices", "2", "--sequence-parallel", "--accumulate", "2", "--recompute"}, "5"}}) {
    CAPTURE(l.flags);
    const Sandbox box;
    const Result r = box.run(Words{"check", model, "--train", "--loss-chunks", "3", "--dim", "batch=3", "--dim",
                                   std::string("sequence=") + l.sequence} +
                             l.flags);
    CAPTURE(r.out);
    CAPTURE(r.err);
    CHECK(r.code == 0);
  }
  const Sandbox box;
  int64_t peak[2], collectives[2];
  for (const bool chunked : {false, true}) {
    const std::string out = chunked ? "chunks" : "whole";
    Words command = {"partition", model, "--train", "--devices", "2", "--recompute", "-o", out};
    if (chunked) command = command + Words{"--loss-chunks", "4"};
    REQUIRE(box.run(command + Words{"--dim", "batch=4", "--dim", "sequence=64"}).code == 0);
    auto plan = llvm::json::parse(contents(box / out + "/plan.json"));
    REQUIRE(bool(plan));
    const auto* devices = plan->getAsObject()->getArray("devices");
    peak[chunked] = *(*devices)[0].getAsObject()->getInteger("activation_peak_bytes");
    collectives[chunked] = int64_t(plan->getAsObject()->getArray("collectives")->size());
  }
  // Of a device's logits, 4·64·129 floats, a quarter stays.
  CHECK(peak[0] - peak[1] > 3 * 64 * 129 * 4);
  // The greatest logit, and the sums over the vocabulary, of each chunk.
  CHECK(collectives[1] == collectives[0] + 2 * 3);
  CHECK(box.run({"inspect", "chunks"}).out.find("--loss-chunks takes the loss in 4 chunks") != std::string::npos);
}

TEST_CASE("the bytes a device keeps are those that ZeRO promises") {
  // Adam in float32, by parameters: 4 bytes each, its gradient 4, its moments 8.
  struct Level {
    std::string zero;
    double parameters, gradients, state;
  };
  for (const Level& l : {Level{"0", 1, 1, 1}, {"1", 1, 1, 0.5}, {"2", 1, 0.5, 0.5}, {"3", 0.5, 0.5, 0.5}}) {
    CAPTURE(l.zero);
    const Sandbox box;
    REQUIRE(box.run({"partition", model, "--train", "--mesh", "data=2", "--zero", l.zero, "-o", "out"}).code == 0);
    auto plan = llvm::json::parse(contents(box / "out" + "/plan.json"));
    REQUIRE(bool(plan));
    for (const auto& device : *plan->getAsObject()->getArray("devices")) {
      const auto bytes = [&](const char* member) { return double(*device.getAsObject()->getInteger(member)); };
      // Of dims with an odd extent one device has more.
      CHECK(bytes("parameter_bytes") == doctest::Approx(4 * 72144 * l.parameters).epsilon(0.02));
      CHECK(bytes("gradient_bytes") == doctest::Approx(4 * 72144 * l.gradients).epsilon(0.02));
      CHECK(bytes("state_bytes") == doctest::Approx(8 * 72144 * l.state).epsilon(0.02));
    }
  }
}

TEST_CASE("a checkpoint goes on with another mesh and level, element for element") {
  const Sandbox box;
  tokens_into(box / "t.bin");
  const Words train = {"train",      model, "--data",      "t.bin", "--batch",     "4",
                       "--sequence", "8",   "--max-steps", "3",     "--optimizer", "adamw"};
  REQUIRE(box.run(train + Words{"--mesh", "data=2,tensor=2", "--zero", "3", "--save", "run"}).code == 0);
  REQUIRE(box.run({"export", "run", "-o", "a.onnx"}).code == 0);
  int n = 0;
  std::string from = "run";
  for (const Words& layout : std::vector<Words>{{"--mesh", "tensor=3"},
                                                {"--mesh", "data=2", "--zero", "1"},
                                                {"--mesh", "data=4,tensor=2", "--zero", "2"},
                                                {"--mesh", "data=3", "--zero", "3"}}) {
    CAPTURE(layout);
    const std::string next = "run" + std::to_string(++n);
    const Result r = box.run(train + layout + Words{"--resume", from, "--save", next});
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    REQUIRE(box.run({"export", next, "-o", next + ".onnx"}).code == 0);
    CHECK(contents(box / "a.onnx") == contents(box / next + ".onnx"));
    from = next;
  }
  // Back where it was, with moments as they were.
  REQUIRE(box.run(train + Words{"--mesh", "data=2,tensor=2", "--zero", "3", "--resume", from, "--save", "back"}).code ==
          0);
  for (const char* rank : {"0", "1", "2", "3"})
    CHECK(contents(box / "run" + "/rank" + rank + ".data") == contents(box / "back" + "/rank" + rank + ".data"));
}

TEST_CASE("reshard writes what a run on other devices would resume from, and leaves nothing out") {
  const Sandbox box;
  tokens_into(box / "t.bin");
  const Words train = {"train", model, "--data", "t.bin", "--batch", "4", "--sequence", "8", "--optimizer", "adamw"};
  REQUIRE(
      box.run(train + Words{"--mesh", "data=2,tensor=2", "--zero", "2", "--max-steps", "2", "--save", "run"}).code ==
      0);
  for (const auto& [layout, ranks] : std::vector<std::pair<Words, int>>{
           {{"--mesh", "tensor=3"}, 3}, {{"--mesh", "data=3", "--zero", "3"}, 3}, {{"--devices", "1"}, 1}}) {
    CAPTURE(layout);
    const Result r = box.run(Words{"reshard", "run", "-o", "next", "--overwrite"} + layout);
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    CHECK(r.out.find("next: step 2, on ") == 0);
    REQUIRE(
        box.run(train + layout + Words{"--max-steps", "2", "--resume", "run", "--save", "same", "--overwrite"}).code ==
        0);
    for (int rank = 0; rank < ranks; ++rank) {
      const std::string file = "/rank" + std::to_string(rank) + ".data";
      CHECK(contents(box / "next" + file) == contents(box / "same" + file));
    }
    // Both go on in the same place.
    REQUIRE(box.run(train + layout + Words{"--max-steps", "3", "--resume", "next"}).code == 0);
    REQUIRE(
        box.run(train + layout + Words{"--max-steps", "3", "--resume", "run", "--save", "third", "--overwrite"}).code ==
        0);
    CHECK(contents(box / "next" + "/rank0.data") == contents(box / "third" + "/rank0.data"));
  }
  CHECK(box.run({"reshard", "run", "-o", "run", "--mesh", "tensor=2"}).code == 0);  // in its own place
  CHECK(box.run({"reshard", "none", "-o", "next"}).code == 66);
  CHECK(box.run({"reshard", "run", "--model", "none.onnx", "-o", "next", "--overwrite"}).line() ==
        "none.onnx: no such file");
  CHECK(box.run({"reshard", "run"}).code == 2);
}

TEST_CASE("--zero needs several devices along data") {
  const Sandbox box;
  const Result r = box.run({"partition", model, "--train", "--devices", "2", "--zero", "1", "-o", "out"});
  CHECK(r.code == 2);
  CHECK(r.line() ==
        "--zero 1: there is nothing to share: expected a mesh axis called data of several devices, found mesh "
        "tensor=2; say --mesh data=2,tensor=2, for instance");
}

TEST_CASE("sequence parallelism computes the same, of lengths that nothing divides, too") {
  for (const Words& job : std::vector<Words>{{"--devices", "3"}, {"--devices", "2", "--train"}}) {
    CAPTURE(job);
    const Sandbox box;
    const Result r =
        box.run(Words{"check", model, "--sequence-parallel", "--dim", "batch=2", "--dim", "sequence=7"} + job);
    CAPTURE(r.out);
    CHECK(r.err == "");
    CHECK(r.code == 0);
  }
}

// These models have no mask: the sequence of their logits is that of their ids.
TEST_CASE("sequence parallelism holds in training where the loss shares its sequence with the ids") {
  for (const Words& job : std::vector<Words>{{"gpt2-tiny", "--devices=2"},
                                             {"llama-tiny-dynamo", "--mesh=data=2,tensor=2", "--zero=2"},
                                             {"origin-tiny", "--devices=5"}}) {
    CAPTURE(job);
    const Sandbox box;
    const Result r = box.run(Words{"check", export_of(job[0]) + "/model.onnx", "--train", "--sequence-parallel",
                                   "--dim", "batch=2", "--dim", "sequence=7"} +
                             Words(job.begin() + 1, job.end()));
    CAPTURE(r.out);
    CHECK(r.err == "");
    CHECK(r.code == 0);
  }
}

TEST_CASE("sequence parallelism makes reduce-scatters and gathers of what tensor parallelism sums up") {
  const Sandbox box;
  REQUIRE(box.run({"partition", model, "--devices", "2", "--sequence-parallel", "-o", "out"}).code == 0);
  auto plan = llvm::json::parse(contents(box / "out" + "/plan.json"));
  REQUIRE(bool(plan));
  CHECK(plan->getAsObject()->getBoolean("sequence_parallel") == true);
  std::map<std::string, int> kinds;
  for (const auto& c : *plan->getAsObject()->getArray("collectives"))
    ++kinds[c.getAsObject()->getString("kind")->str()];
  CHECK(kinds["all_reduce"] == 0);
  CHECK(kinds["reduce_scatter"] == 5);  // 2 of each layer, and of the embedding
  const Result r = box.run({"partition", model, "--devices", "1", "--sequence-parallel", "-o", "one"});
  CHECK(r.code == 2);
  CHECK(r.line() ==
        "--sequence-parallel: expected several devices along the strategy's mesh axis, found mesh tensor=1");
}
