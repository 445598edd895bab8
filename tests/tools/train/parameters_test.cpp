// Models that count parameters in another way than by layers, against PyTorch: the count, the logits, three steps of
// AdamW, and what the trained weights are in the model's own file. tests/data/README.md says what they are.
#include <cmath>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/npy.h"
#include "tests/must.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
llvm::json::Value json_of(const std::string& path) {
  return must(parse_json(path, must(open_input_file(path))->text()));
}
Array array_of(const std::string& path) { return to_array(must(read_npy(path))); }
std::string model_of(const std::string& name) { return OPTP_TEST_DATA "/parameters/" + name; }
void done(const Result& r) {
  CAPTURE(r.err);
  REQUIRE(r.code == 0);
}
std::vector<double> losses_of(const std::string& path) {
  const auto file = json_of(path);
  std::vector<double> out;
  for (const auto& l : *file.getAsObject()->getArray("losses")) out.push_back(*l.getAsNumber());
  return out;
}
}  // namespace

TEST_CASE("parameters are counted as PyTorch counts them, and every number of devices computes its logits") {
  for (const std::string name : {"albert-tiny", "copied-tiny-dynamo", "learned-tiny", "shared-tiny-dynamo"})
    for (const std::string devices : {"1", "2", "3", "5"}) {
      const Sandbox box;
      CAPTURE(name);
      CAPTURE(devices);
      done(box.run({model_of(name) + "/model.onnx", "--devices", devices, "-o", "out"}));
      const auto plan = json_of(box / "out/plan.json"), made = json_of(model_of(name) + "/case.json");
      const auto& totals = *plan.getAsObject()->getObject("totals");
      CHECK(totals.getInteger("parameter_elements") == made.getAsObject()->getInteger("parameters"));
      CHECK(totals.getObject("trained")->getInteger("elements") == made.getAsObject()->getInteger("parameters"));
      for (const std::string suffix : {"", ".2"}) {
        done(box.run({"run", "out", "--inputs-dir", model_of(name) + "/inputs" + suffix, "-o", "res" + suffix}));
        const Array found = array_of(box / "res" + suffix + "/logits.npy"),
                    expected = array_of(model_of(name) + "/golden/exact/logits" + suffix + ".npy");
        REQUIRE(found.dims == expected.dims);
        double most = 0, top = 1;
        for (size_t k = 0; k < found.f.size(); ++k)
          most = std::max(most, std::fabs(found.f[k] - expected.f[k])), top = std::max(top, std::fabs(expected.f[k]));
        CHECK(most <= 1e-5 * top);
      }
    }
}

TEST_CASE(
    "three steps lose what PyTorch's lose, where modules are called several times and where no layer holds what is "
    "learned") {
  for (const std::string name : {"albert-tiny", "learned-tiny", "shared-tiny-dynamo"})
    for (const std::string devices : {"1", "2", "3"}) {
      const Sandbox box;
      CAPTURE(name);
      CAPTURE(devices);
      const std::string golden = model_of(name) + "/golden/train/";
      for (const auto& [folder, suffix] : {std::pair{"a", ""}, {"b", ".2"}}) {
        fs::copy(model_of(name) + "/inputs" + suffix, box / folder);
        fs::copy(golden + "labels" + suffix + ".npy", box / folder + std::string("/labels.npy"));
      }
      done(box.run({model_of(name) + "/model.onnx", "--train", "--optimizer", "adamw", "--lr", "0.01", "--weight-decay",
                    "0.1", "--devices", devices, "-o", "out"}));
      done(box.run({"run", "out", "-o", "res", "--inputs-dir", "a", "--inputs-dir", "b", "--steps", "3"}));
      const auto losses = losses_of(box / "res/index.json");
      const auto file = json_of(golden + "index.json");
      const auto& expected =
          *file.getAsObject()->getObject("optimizers")->getObject("adamw")->getObject("losses")->getArray("exact");
      REQUIRE(losses.size() == expected.size());
      for (size_t k = 0; k < losses.size(); ++k)
        CHECK(losses[k] == doctest::Approx(*expected[k].getAsNumber()).epsilon(k == 0 ? 2e-6 : 1e-5));
    }
}

TEST_CASE(
    "what was trained as one goes back to all its places in the model's file, and what was trained apart to its own") {
  for (const std::string name : {"albert-tiny", "copied-tiny-dynamo", "shared-tiny-dynamo"}) {
    const Sandbox box;
    CAPTURE(name);
    std::string tokens;  // one batch an epoch
    for (int k = 0; k < 48; ++k) tokens += char(k * 37 % 97), tokens += '\0';
    write_text(box / "t.bin", tokens);
    const std::vector<std::string> words{"--data", "t.bin", "--batch", "4",         "--sequence",
                                         "12",     "--lr",  "0.01",    "--devices", "2"};
    auto train = [&](const std::string& model, std::vector<std::string> more) {
      more.insert(more.begin(), {"train", model});
      done(box.run(more));
    };
    auto with = [&](std::vector<std::string> more) {
      more.insert(more.begin(), words.begin(), words.end());
      return more;
    };
    train(model_of(name) + "/model.onnx", with({"--save", "run", "--epochs", "2"}));
    done(box.run({"export", "run", "-o", "up.onnx"}));
    train(model_of(name) + "/model.onnx", {"--data", "t.bin", "--resume", "run", "--epochs", "3", "--devices", "2"});
    train("up.onnx", with({"--save", "again", "--epochs", "1"}));
    auto first = [&](const std::string& folder) {
      for (const auto& entry : fs::directory_iterator(box / folder))
        if (entry.path().extension() == ".json" && contents(entry.path()).find("\"losses\"") != std::string::npos)
          return losses_of(entry.path());
      return std::vector<double>();
    };
    REQUIRE(first("run").size() == 3);
    REQUIRE(first("again").size() == 1);
    CHECK(first("again")[0] == doctest::Approx(first("run")[2]).epsilon(1e-5));
  }
}

TEST_CASE("inspect lists what is trained, what is frozen and what is constant, with counts") {
  const Sandbox box;
  done(box.run(
      {model_of("learned-tiny") + "/model.onnx", "--train", "--devices", "2", "--freeze", "*.bias", "-o", "out"}));
  const Result lists = box.run({"inspect", "out", "--tensors"});
  CAPTURE(lists.out);
  CHECK(lists.out.find("trained: ") == 0);
  CHECK(lists.out.find("\nfrozen: 4 tensors, 160 elements\n  m.ln.bias  float32 [32]  32\n") != std::string::npos);
  CHECK(lists.out.find("\nconstant: ") != std::string::npos);
  const Result text = box.run({"inspect", "out"});
  CAPTURE(text.out);
  CHECK(text.out.find("\n  trained: ") != std::string::npos);
  CHECK(text.out.find("\n  frozen: 4 tensors, 160 elements: ") != std::string::npos);
  const Result refused =
      box.run({model_of("learned-tiny") + "/model.onnx", "--devices", "2", "--untie", "x*", "-o", "other"});
  CHECK(refused.code == 2);
  CHECK(refused.line() == "--untie 'x*': matches no weight");
}
