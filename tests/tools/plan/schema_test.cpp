// The JSON Schemas of docs/ hold for what is written, and fail for other files.
#include "tests/tools/json_schema.h"

using namespace optp;

namespace {
using JsonObject = llvm::json::Object;
using JsonValue = llvm::json::Value;
}  // namespace

TEST_CASE("the plan's JSON Schema holds for what partition writes, inference and training, on any number of devices") {
  const Schema schema = schema_of("plan");
  const Sandbox box;
  for (const char* name : {"opt-tiny", "opt-tiny-past", "llama-tiny-dynamo", "origin-125m-structure", "opt-tiny-fp16"})
    for (const std::vector<std::string>& flags :
         std::vector<std::vector<std::string>>{{"--devices", "2"},
                                               {"--devices", "5", "--strategy", "origin"},
                                               {"--mesh", "data=2,tensor=2"},
                                               {"--devices", "3", "--train", "--accumulate", "2"}}) {
      std::vector<std::string> words{export_of(name) + "/model.onnx", "-o", "out", "--overwrite"};
      words.insert(words.end(), flags.begin(), flags.end());
      const Result made = box.run(words);
      CAPTURE(name);
      CAPTURE(made.err);
      if (made.code != 0 && flags.size() > 4 && flags[2] == "--train")
        continue;  // what has no [b, s, v] output is not trained
      REQUIRE(made.code == 0);
      CHECK(schema.fault(json_of(box / "out/plan.json")) == "");
    }
}

TEST_CASE("the plan's JSON Schema does not hold for other files") {
  const Schema schema = schema_of("plan");
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  auto changed = [&](llvm::function_ref<void(JsonObject&)> change) {
    JsonValue plan = json_of(box / "out/plan.json");
    change(*plan.getAsObject());
    return schema.fault(plan);
  };
  // The place, and what Valijson says of it.
  CHECK(changed([](JsonObject& plan) { plan["version"] = 1; }) ==
        "plan[version]: Failed to match against any enum values.");
  CHECK(changed([](JsonObject& plan) { plan.erase("totals"); }) == "plan: Missing required property 'totals'.");
  CHECK(changed([](JsonObject& plan) { (*plan.getArray("parameters"))[0].getAsObject()->erase("layout"); }) ==
        "plan[parameters][0]: Missing required property 'layout'.");
  CHECK(changed([](JsonObject& plan) {
          (*(*plan.getArray("collectives"))[1].getAsObject())["bytes"] = -1;
        }).rfind("plan[collectives][1][bytes]: Expected number greater than or equal to 0", 0) == 0);
}

TEST_CASE("the JSON Schemas of check, bench, diff and results hold for what these write") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const std::vector<std::string> dims{"--dim", "batch=2", "--dim", "sequence=8"};
  auto run = [&](std::vector<std::string> words, bool with_dims) {
    if (with_dims) words.insert(words.end(), dims.begin(), dims.end());
    return box.run(words);
  };
  REQUIRE(run({"check", model, "--devices", "2", "--json", "check.json"}, true).code == 0);
  CHECK(schema_of("check").fault(json_of(box / "check.json"), "check") == "");
  CHECK(json_of(box / "check.json").getAsObject()->getBoolean("holds") == true);
  REQUIRE(run({"check", model, "--devices", "2", "--mutant", "drop-all-reduce", "--json", "broken.json"}, true).code ==
          1);
  const JsonValue broken = json_of(box / "broken.json");
  CHECK(schema_of("check").fault(broken, "check") == "");
  CHECK(broken.getAsObject()->getBoolean("holds") == false);
  CHECK(broken.getAsObject()->getString("fault"));
  REQUIRE(run({"bench", model, "--devices", "2", "--runs", "2", "--json", "bench.json"}, true).code == 0);
  CHECK(schema_of("bench").fault(json_of(box / "bench.json"), "bench") == "");
  REQUIRE(run({"bench", model, "--devices", "2", "--decode", "3", "--json", "decode.json"}, true).code == 0);
  CHECK(schema_of("bench-decode").fault(json_of(box / "decode.json"), "bench-decode") == "");
  CHECK(schema_of("bench-decode").fault(json_of(box / "bench.json"), "bench") != "");
  CHECK(json_of(box / "bench.json").getAsObject()->getObject("machine")->getInteger("cores") > 0);
  REQUIRE(box.run({model, "-o", "a"}).code == 0);
  REQUIRE(box.run({model, "--strategy", "origin", "-o", "b"}).code == 0);
  const Result differ = box.run({"diff", "a", "b", "--json"});
  write_text(box / "diff.json", differ.out);
  CHECK(schema_of("diff").fault(json_of(box / "diff.json"), "diff") == "");
  REQUIRE(box.run({model, "--train", "--optimizer", "adam", "-o", "step"}).code == 0);
  REQUIRE(run({"run", "step", "--input", "input_ids=rand(1)", "--input", "attention_mask=ones", "--input",
               "labels=rand(1)", "--steps", "2", "--dump", "gradients,parameters,state", "-o", "res"},
              true)
              .code == 0);
  const JsonValue results = json_of(box / "res/index.json");
  CHECK(schema_of("results").fault(results, "results") == "");
  CHECK(results.getAsObject()->getArray("losses")->size() == 2);
  for (const char* member : {"gradients", "parameters", "state"})
    CHECK(!results.getAsObject()->getObject(member)->empty());
  CHECK(schema_of("check").fault(json_of(box / "bench.json"), "check") != "");
}

TEST_CASE("the JSON Schemas of generate's times and of versions hold for what is written") {
  const Sandbox box;
  REQUIRE(box.run({"generate", export_of("opt-tiny") + "/model.onnx", "--devices", "2", "--prompt-ids", "5,9",
                   "--tokens", "3", "--json", "times.json"})
              .code == 0);
  CHECK(schema_of("generate").fault(json_of(box / "times.json"), "generate") == "");
  write_text(box / "version.json", box.run({"--version", "--json"}).out);
  CHECK(schema_of("version").fault(json_of(box / "version.json"), "version") == "");
  CHECK(schema_of("generate").fault(json_of(box / "version.json"), "generate") != "");
  CHECK(schema_of("version").fault(json_of(box / "times.json"), "version") != "");
}

TEST_CASE("the JSON Schemas of errors, checkpoints, manifests and logs hold for what is written") {
  const Sandbox box;
  const std::string folder = export_of("opt-tiny"), model = folder + "/model.onnx";
  REQUIRE(box.run({model, "-o", "out"}).code == 0);
  REQUIRE(box.run({model, "--devices", "2", "--no-weights", "-o", "graphs"}).code == 0);
  for (const char* out : {"out", "graphs"})
    CHECK(schema_of("manifest").fault(json_of(box / (std::string(out) + "/manifest.json")), "manifest") == "");
  std::string tokens;
  for (int k = 0; k < 600; ++k) tokens += std::string{char(k * 7 % 61), 0};
  write_text(box / "t.bin", tokens);
  for (const char* optimizer : {"sgd", "adamw"})
    REQUIRE(box.run({"train",       model,        "--data", "t.bin",    "--devices", "2",           "--batch",
                     "2",           "--sequence", "8",      "--epochs", "1",         "--max-steps", "3",
                     "--optimizer", optimizer,    "--save", optimizer,  "--log",     "log"})
                .code == 0);
  for (const char* optimizer : {"sgd", "adamw"}) {
    CHECK(schema_of("checkpoint").fault(json_of(box / (std::string(optimizer) + "/checkpoint.json")), "run") == "");
    CHECK(schema_of("manifest").fault(json_of(box / (std::string(optimizer) + "/manifest.json")), "manifest") == "");
  }
  std::istringstream log(contents(box / "log"));
  size_t lines = 0;
  for (std::string line; std::getline(log, line); ++lines) {
    auto step = llvm::json::parse(line);
    REQUIRE(bool(step));
    CHECK(schema_of("log").fault(*step, "log") == "");
  }
  CHECK(lines == 3);
}

TEST_CASE("every member that a schema requires is missed") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  const Schema schema = schema_of("plan");
  const JsonValue plan = json_of(box / "out/plan.json");
  for (const auto& [name, member] : *plan.getAsObject()) {
    CAPTURE(name.str());
    JsonObject less = *plan.getAsObject(), wrong = *plan.getAsObject();
    less.erase(name);
    CHECK(schema.fault(JsonValue(std::move(less))) != "");
    wrong[name] = nullptr;
    CHECK(schema.fault(JsonValue(std::move(wrong))) != "");
  }
}
