// inspect: the plan as people see it.
#include "tests/tools/json_schema.h"
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

TEST_CASE("patterns and a layer's number choose tensors, as JSON alone") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  const auto inspect = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"inspect", "out"});
    return box.run(words);
  };
  const std::string first = "m.model.decoder.layers.0.fc1.weight", second = "m.model.decoder.layers.1.fc1.weight";
  CHECK(inspect({"--tensor", "*.fc1.weight"}).out ==
        inspect({"--tensor", first}).out + "\n" + inspect({"--tensor", second}).out);
  CHECK(inspect({"--tensor", "*.fc?.weight", "--layer", "1"}).out.find("layers.0") == std::string::npos);
  CHECK(inspect({"--why", "*fc1.weight", "--layer", "1"}).out == inspect({"--why", second}).out);
  // Alone, the parameters of the layer: those whose names say nothing by the node that uses them.
  const std::string layer = inspect({"--layer", "1"}).out;
  CHECK(layer.find(second) != std::string::npos);
  CHECK(layer.find("onnx::MatMul_") != std::string::npos);
  CHECK(layer.find(first) == std::string::npos);
  CHECK(layer.find("embed_tokens") == std::string::npos);
  const auto json = [&](const std::vector<std::string>& words) {
    const Result r = inspect(words);
    REQUIRE(r.code == 0);
    return llvm::cantFail(llvm::json::parse(r.out));
  };
  const auto one = json({"--tensor", first, "--json"});
  CHECK(schema_of("tensor").fault(one, "tensor") == "");
  const auto& tensors = *one.getAsObject()->getArray("tensors");
  REQUIRE(tensors.size() == 1);
  CHECK(tensors[0].getAsObject()->getString("name") == llvm::StringRef(first));
  CHECK(tensors[0].getAsObject()->getString("kind") == llvm::StringRef("parameter"));
  CHECK(tensors[0].getAsObject()->getObject("layout")->getArray("shards")->size() == 2);
  CHECK(json({"--tensor", "*", "--json"}).getAsObject()->getArray("tensors")->size() ==
        36);  // parameters are meant first
  CHECK(inspect({"--tensor", "*.fc9.weight"}).code == 66);
  CHECK(inspect({"--layer", "7"}).line() == "the plan has no parameter of layer 7");
}

TEST_CASE("a plan's numbers at other dims are those of a plan made for them, inference and training") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  for (const std::vector<std::string>& job : {std::vector<std::string>{}, {"--train"}}) {
    const auto partition = [&](const std::string& folder, const std::vector<std::string>& dims) {
      std::vector<std::string> words{model, "--devices", "3", "-o", folder, "--overwrite"};
      words.insert(words.end(), job.begin(), job.end());
      words.insert(words.end(), dims.begin(), dims.end());
      REQUIRE(box.run(words).code == 0);
    };
    partition("out", {});
    partition("other", {"--dim", "batch=16", "--dim", "sequence=32"});
    const Result moved = box.run({"inspect", "out", "--dim", "batch=16", "--input-shapes", "input_ids:16x32"});
    CHECK(moved.code == 0);
    CHECK(moved.out == box.run({"inspect", "other"}).out);
    CHECK(box.run({"inspect", "out", "--dim", "batch=16,sequence=32"}).out == moved.out);
    CHECK(box.run({"inspect", "out", "--dim", "batch=16", "--dim", "sequence=32", "--json"}).out ==
          box.run({"inspect", "other", "--json"}).out);
  }
  CHECK(box.run({"inspect", "out", "--dim", "bach=16"}).line() ==
        "--dim 'bach=16': the plan has no such dim; it has batch, sequence");
  CHECK(box.run({"inspect", "out", "--dim", "batch=0"}).code != 0);
  REQUIRE(box.run({model, "--plan-only", "-o", "bare"}).code == 0);
  CHECK(box.run({"inspect", "bare", "--dim", "batch=16"}).out.find("unknown") != std::string::npos);
}

TEST_CASE("--fit adds up what each device holds, and finds the fewest devices that hold it") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  REQUIRE(box.run({model, "--devices", "2", "-o", "out"}).code == 0);
  const auto fit = [&](const std::string& size, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"inspect", "out", "--fit", size, "--model", model, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Result r = box.run(words);
    CAPTURE(r.err);
    auto json = llvm::cantFail(llvm::json::parse(r.out));
    CHECK(schema_of("fit").fault(json, "fit") == "");
    CHECK(r.code == (json.getAsObject()->getBoolean("fits").value_or(false) ? 0 : 1));
    return std::move(*json.getAsObject());
  };
  const auto large = fit("1GB");
  CHECK(large.getBoolean("fits") == true);
  CHECK(large.getObject("smallest")->getInteger("devices") == 1);
  const auto& first = *(*large.getArray("devices"))[0].getAsObject();
  int64_t sum = 0;
  for (const char* part : {"weight_bytes", "gradient_bytes", "state_bytes", "activation_bytes", "port_bytes",
                           "cache_bytes", "program_bytes"})
    sum += *first.getInteger(part);
  CHECK(first.getInteger("total_bytes") == sum);
  CHECK(*first.getInteger("port_bytes") == 2 * 8 * 128 + 4 * 128 * 257);  // ids, mask, logits of one sequence
  // One byte less than one device needs: more devices are needed; the plan itself, on two, is what was written.
  const int64_t alone = *large.getObject("smallest")->getInteger("largest_bytes");
  const auto tight = fit(std::to_string(alone - 1));
  CHECK(*tight.getObject("smallest")->getInteger("devices") > 1);
  CHECK(*tight.getObject("smallest")->getInteger("largest_bytes") < alone);
  const auto longer = fit("1GB", {"--dim", "batch=8"});
  CHECK(*(*longer.getArray("devices"))[0].getAsObject()->getInteger("port_bytes") ==
        8 * *first.getInteger("port_bytes"));
  CHECK(*(*longer.getArray("devices"))[0].getAsObject()->getInteger("weight_bytes") ==
        *first.getInteger("weight_bytes"));
  const auto none = fit("1kB");
  CHECK(none.getBoolean("fits") == false);
  CHECK(none.get("smallest")->kind() == llvm::json::Value::Null);

  const Result text = box.run({"inspect", "out", "--fit", "100kB"});
  CHECK(text.code == 1);
  CHECK(text.out.find("model.onnx: 97.7 KiB (100,000 bytes) a device, at batch 1, sequence 128\n") == 0);
  CHECK(text.out.find("DOES NOT FIT") != std::string::npos);
  CHECK(text.out.find("not known without the model (--model FILE)") != std::string::npos);
  CHECK(box.run({"inspect", "out", "--fit", "lots"}).code == 2);
  REQUIRE(box.run({"inspect", "out", "--fit", "8GB", "--model", model, "--html", "fit.html"}).code == 0);
  CHECK(contents(box / "fit.html").find("<section id=\"fit\">") != std::string::npos);
}

TEST_CASE(
    "--fit at other dims counts activations of a plan without rank graphs, too, or says that it needs the model") {
  const Sandbox box;
  fs::copy_file(export_of("opt-tiny") + "/model.onnx", box / "m.onnx");
  const std::vector<std::string> at{"--dim", "batch=3", "--dim", "sequence=40", "--fit", "1GB", "--json"};
  const std::vector<std::string> train{"m.onnx", "--devices", "2", "--train"};
  REQUIRE(box.run(train + std::vector<std::string>{"-o", "whole"}).code == 0);
  REQUIRE(box.run(train + std::vector<std::string>{"--plan-only", "-o", "alone"}).code == 0);
  const Result whole = box.run(std::vector<std::string>{"inspect", "whole"} + at);
  const Result alone = box.run(std::vector<std::string>{"inspect", "alone"} + at);
  CHECK(whole.code == 0);
  // A graph that was written and read has a few nodes more, so what the program takes is about the same.
  const auto but_the_program = [](const Result& r) {
    auto json = llvm::cantFail(llvm::json::parse(r.out));
    const int64_t least = *json.getAsObject()->getObject("smallest")->getInteger("largest_bytes");
    for (llvm::json::Value& v : *json.getAsObject()->getArray("devices")) {
      llvm::json::Object& device = *v.getAsObject();
      const int64_t total = *device.getInteger("total_bytes"), program = *device.getInteger("program_bytes");
      CHECK(program > 0);
      CHECK(least > program);
      device["total_bytes"] = total - program;
      device.erase("program_bytes");
    }
    return json;
  };
  CHECK(but_the_program(alone) == but_the_program(whole));
  CHECK(whole.out.find("\"activation_bytes\": null") == std::string::npos);
  fs::remove(box / "m.onnx");
  const Result lost = box.run(std::vector<std::string>{"inspect", "alone"} + at);
  CHECK(lost.code == 66);
  CHECK(lost.line() ==
        "--fit: how much activations take at these dims is known by the model alone (--model FILE): m.onnx: no such "
        "file");
}

TEST_CASE("what --fit says of activations is what a run takes for values and workspace, gradients among them") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  using Words = std::vector<std::string>;
  for (const Words& job : {Words{}, Words{"--train", "--optimizer", "adam"}}) {
    CAPTURE(job.size());
    const auto with_job = [&](Words words) {
      words.insert(words.end(), job.begin(), job.end());
      return words;
    };
    REQUIRE(box.run(with_job({model, "--devices", "2", "--overwrite", "--no-html", "-o", "out"})).code == 0);
    REQUIRE(box.run(with_job({"bench", model, "--devices", "2", "--threads-per-device", "1", "--dim", "batch=2",
                              "--dim", "sequence=16", "--runs", "1", "--warm-up", "0", "--json", "b.json"}))
                .code == 0);
    const Result r = box.run({"inspect", "out", "--fit", "1GB", "--dim", "batch=2", "--dim", "sequence=16", "--json"});
    REQUIRE(r.code == 0);
    const auto fit = llvm::cantFail(llvm::json::parse(r.out)),
               bench = llvm::cantFail(llvm::json::parse(contents(box / "b.json")));
    int64_t most = 0;
    for (const auto& device : *fit.getAsObject()->getArray("devices")) {
      most = std::max(most, *device.getAsObject()->getInteger("activation_bytes"));
      CHECK(device.getAsObject()->getInteger("gradient_bytes") == 0);
    }
    CHECK(most == bench.getAsObject()->getInteger("arena_bytes"));
  }
  // Sums over micro-batches stand from one to the next.
  REQUIRE(box.run({model, "--train", "--accumulate", "2", "--overwrite", "--no-html", "-o", "out"}).code == 0);
  const auto fit = llvm::cantFail(llvm::json::parse(box.run({"inspect", "out", "--fit", "1GB", "--json"}).out));
  CHECK(*(*fit.getAsObject()->getArray("devices"))[0].getAsObject()->getInteger("gradient_bytes") > 0);
}

TEST_CASE("--fit does not count tables that are only looked up, which stay in their file") {
  const Sandbox box;
  const auto device = [&](const std::vector<std::string>& words) {
    const Result r =
        box.run(std::vector<std::string>{"inspect"} + words + std::vector<std::string>{"--fit", "1GB", "--json"});
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    const auto json = llvm::cantFail(llvm::json::parse(r.out));
    CHECK(schema_of("fit").fault(json, "fit") == "");
    return *(*json.getAsObject()->getArray("devices"))[0].getAsObject();
  };
  const std::vector<std::string> size{"--layers", "1",       "--hidden", "64",      "--ffn",
                                      "64",       "--heads", "4",        "--vocab", "16384"};
  const int64_t table = 16384 * 64 * 4;
  for (const bool tied : {false, true}) {
    CAPTURE(tied);
    const std::vector<std::string> head = tied ? std::vector<std::string>{} : std::vector<std::string>{"--untied"};
    REQUIRE(box.run(std::vector<std::string>{"build", "opt-125m", "-o", "m.onnx"} + size + head).code == 0);
    for (const int64_t devices : {1, 2}) {
      CAPTURE(devices);
      const std::string n = std::to_string(devices);
      REQUIRE(box.run({"m.onnx", "--devices", n, "--overwrite", "-o", "out"}).code == 0);
      const auto of_model = device({"m.onnx", "--devices", n}), of_folder = device({"out"});
      // The head is packed, so it is in memory; the table that is tied to it is the same weights.
      CHECK(*of_folder.getInteger("file_bytes") == (tied ? 0 : table / devices));
      CHECK(*of_model.getInteger("file_bytes") == *of_folder.getInteger("file_bytes"));
      CHECK(*of_model.getInteger("weight_bytes") == *of_folder.getInteger("weight_bytes"));
      CHECK(*of_folder.getInteger("weight_bytes") >= table / devices);
      CHECK(*of_folder.getInteger("program_bytes") > 0);
    }
  }
  // Cut by columns in memory, a rank's part is put together; its own file has it in one piece.
  REQUIRE(box.run({"m.onnx", "--strategy", "origin", "--overwrite", "-o", "columns"}).code == 0);
  CHECK(*device({"columns"}).getInteger("file_bytes") == 0);
  CHECK(box.run({"inspect", "out", "--fit", "1GB"}).out.find("stay in their file") == std::string::npos);
  // A training step holds all of them.
  REQUIRE(box.run({"m.onnx", "--train", "--overwrite", "-o", "out"}).code == 0);
  CHECK(*device({"out"}).getInteger("file_bytes") == 0);
}

TEST_CASE("what does not fit is an error, of a model alone only if no number of devices does") {
  const Sandbox box;
  fs::copy_file(export_of("opt-tiny") + "/model.onnx", box / "m.onnx");
  const auto total = [&](const std::string& devices) {
    const Result r = box.run({"inspect", "m.onnx", "--devices", devices, "--fit", "1GB", "--json"});
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    const auto json = llvm::cantFail(llvm::json::parse(r.out));
    int64_t most = 0;
    for (const llvm::json::Value& d : *json.getAsObject()->getArray("devices"))
      most = std::max(most, *d.getAsObject()->getInteger("total_bytes"));
    return most;
  };
  const int64_t two = total("2");
  REQUIRE(total("4") < two);
  const std::string size = std::to_string(two - 1);
  CHECK(box.run({"inspect", "m.onnx", "--fit", size}).code == 0);  // 4 devices do, and nobody asked for 2
  const Result asked = box.run({"--diagnostics", "json", "inspect", "m.onnx", "--devices", "2", "--fit", size});
  CHECK(asked.code == 1);
  CHECK(asked.out.find("it does not fit") != std::string::npos);  // the table is there all the same
  const auto error = llvm::cantFail(llvm::json::parse(asked.err));
  CHECK(schema_of("error").fault(error, "error") == "");
  CHECK(error.getAsObject()->getString("code") == "check-failed/does-not-fit");
  CHECK(box.run({"inspect", "m.onnx", "--fit", "1kB", "--html", "fit.html"}).code == 1);
  CHECK(contents(box / "fit.html").find("<section id=\"fit\">") != std::string::npos);
  const Result never = box.run({"inspect", "m.onnx", "--fit", "1kB"});
  CHECK(never.code == 1);
  CHECK(never.line().find("m.onnx: on 2 devices: bytes of device 0: expected at most 1,000, found ") == 0);
  CHECK(never.line().find("; not even 1024 devices along the cut axis do") != std::string::npos);
}

TEST_CASE("a decoder without caches in its graph counts those that generate makes") {
  const Sandbox box;
  const auto fit = [&](const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> words{"inspect", export_of(model) + "/model.onnx", "--fit", "1GB", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Result r = box.run(words);
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    auto json = llvm::cantFail(llvm::json::parse(r.out));
    CHECK(schema_of("fit").fault(json, "fit") == "");
    return std::move(*json.getAsObject());
  };
  const auto cache = [](const llvm::json::Object& fit, size_t rank) {
    return *(*fit.getArray("devices"))[rank].getAsObject()->getInteger("cache_bytes");
  };
  // Llama: 2 layers, keys and values, 2 heads of 8 for 4 of queries, float32; over 2 devices each has one.
  const std::string model = export_of("llama-tiny-dynamo") + "/model.onnx";
  REQUIRE(box.run({model, "--devices", "2", "--kv-cache", "24", "-o", "decoder"}).code == 0);
  const Result own = box.run({"inspect", "decoder", "--fit", "1GB", "--json", "--dim", "batch=3"});
  const auto decoder = llvm::cantFail(llvm::json::parse(own.out));
  CHECK(decoder.getAsObject()->getString("cache") == "graph");
  const auto some = fit("llama-tiny-dynamo", {"--dim", "batch=3", "--dim", "sequence=24"});
  CHECK(some.getString("cache") == "decoder");
  CHECK(some.getInteger("cached_tokens") == 24);
  CHECK(cache(some, 0) > 0);
  for (size_t rank : {0, 1}) CHECK(cache(some, rank) == cache(*decoder.getAsObject(), rank));
  CHECK(cache(fit("llama-tiny-dynamo", {"--dim", "batch=6", "--dim", "sequence=24"}), 0) == 2 * cache(some, 0));
  // The fewest devices hold their caches, too.
  const auto alone = fit("llama-tiny-dynamo", {"--devices", "1", "--dim", "batch=3", "--dim", "sequence=24"});
  CHECK(cache(alone, 0) == cache(some, 0) + cache(some, 1));
  CHECK(alone.getObject("smallest")->getInteger("largest_bytes") ==
        *(*alone.getArray("devices"))[0].getAsObject()->getInteger("total_bytes"));

  const auto none = fit("bert-tiny", {});
  CHECK(none.getString("cache") == "none");
  CHECK(cache(none, 0) == 0);
  CHECK(none.getString("cache_not_counted")->contains("a cache for decoding"));
  const Result text = box.run({"inspect", model, "--fit", "1GB", "--dim", "sequence=24"});
  CHECK(text.out.find(
            "the cache is that of generate and partition --kv-cache: keys and values of 24 tokens a sequence") !=
        std::string::npos);
}

TEST_CASE("with --compute bf16 caches and the fewest devices are counted as generate holds them") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const auto fit = [&](const std::string& plan, const std::vector<std::string>& more) {
    std::vector<std::string> words{"inspect", plan, "--model", model, "--fit", "1GB", "--json", "--dim", "sequence=24"};
    words.insert(words.end(), more.begin(), more.end());
    const Result r = box.run(words);
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    auto json = llvm::cantFail(llvm::json::parse(r.out));
    return std::move(*json.getAsObject());
  };
  const auto of_first = [](const llvm::json::Object& fit, const char* what) {
    return *(*fit.getArray("devices"))[0].getAsObject()->getInteger(what);
  };
  std::map<std::string, int64_t> cached;
  for (const char* compute : {"f32", "bf16"}) {
    CAPTURE(std::string(compute));
    REQUIRE(box.run({model, "--devices", "2", "--compute", compute, "-o", compute}).code == 0);
    const std::string times = compute + std::string(".json");
    REQUIRE(box.run({"generate", model, "--devices", "2", "--compute", compute, "--kv-cache", "24", "--prompt-ids",
                     "5,6,7", "--tokens", "2", "--json", times})
                .code == 0);
    const auto made = json_of(box / times);
    cached[compute] = of_first(fit(compute, {}), "cache_bytes");
    CHECK(cached[compute] == made.getAsObject()->getInteger("cache_bytes_per_device"));
    const auto alone = fit(compute, {"--devices", "1"});
    CHECK(alone.getObject("smallest")->getInteger("largest_bytes") == of_first(alone, "total_bytes"));
    CHECK(fit(compute, {}).getObject("smallest")->getInteger("largest_bytes") == of_first(alone, "total_bytes"));
    const auto plan = json_of(box / (compute + std::string("/plan.json")));
    CHECK((plan.getAsObject()->get("compute") != nullptr) == (compute == std::string("bf16")));
  }
  CHECK(cached["f32"] == 2 * cached["bf16"]);
}

TEST_CASE("a cache of keys and values counts, for the batch and length that are asked for") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny-past") + "/model.onnx", "--devices", "2", "-o", "out"}).code == 0);
  const auto plan = json_of(box / "out/plan.json");
  std::string past;
  for (const auto& [name, info] : *plan.getAsObject()->getObject("dims"))
    if (llvm::StringRef(name).contains("past")) past = name.str();
  REQUIRE(!past.empty());
  const auto cache = [&](int64_t batch, int64_t length) {
    const Result r = box.run({"inspect", "out", "--fit", "1GB", "--json", "--dim", "batch=" + std::to_string(batch),
                              "--dim", past + "=" + std::to_string(length)});
    CAPTURE(r.err);
    REQUIRE(r.code == 0);
    const auto json = llvm::cantFail(llvm::json::parse(r.out));
    return *(*json.getAsObject()->getArray("devices"))[0].getAsObject()->getInteger("cache_bytes");
  };
  const int64_t some = cache(1, 16), more = cache(1, 32);
  // Before the step and after it, each 16 entries longer.
  const int64_t entry = (more - some) / 32;
  CHECK(entry > 0);
  CHECK(some > 32 * entry);
  CHECK(cache(4, 16) == 4 * some);
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
