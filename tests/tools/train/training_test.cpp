// Training with the program, against PyTorch: loss, gradients, and parameters and losses over steps of each optimizer.
// What is compared with was computed in float64; PyTorch's own float32 error says how near one can be asked to come.
#include <cmath>
#include <cstring>

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
double largest(const Array& a) {
  double out = 0;
  for (double x : a.f) out = std::max(out, std::fabs(x));
  return out;
}
double norm(const Array& a) {
  double out = 0;
  for (double x : a.f) out += x * x;
  return std::sqrt(out);
}
double difference(const Array& a, const Array& b) {
  if (a.dims != b.dims) return INFINITY;
  double out = 0;
  for (size_t k = 0; k < a.f.size(); ++k)
    out = std::max(out, std::isfinite(a.f[k]) ? std::fabs(a.f[k] - b.f[k]) : INFINITY);
  return out;
}
std::string golden_of(const std::string& name) { return export_of(name) + "/golden/train"; }
// The export's two sets of inputs, each in a folder with its labels.
void copy_inputs(const Sandbox& box, const std::string& name) {
  for (const auto& [folder, suffix] : {std::pair{"a", ""}, {"b", ".2"}}) {
    fs::copy(export_of(name) + "/inputs" + suffix, box / folder);
    fs::copy(golden_of(name) + "/labels" + suffix + ".npy", box / folder + std::string("/labels.npy"));
  }
}
llvm::json::Value trained(const Sandbox& box, const std::string& name, const std::string& devices,
                          const std::vector<std::string>& optimizer, const std::vector<std::string>& steps) {
  const Result made = box.run(std::vector<std::string>{export_of(name) + "/model.onnx", "--train", "--devices", devices,
                                                       "-o", "out", "--overwrite", "--optimizer"} +
                              optimizer);
  CAPTURE(made.err);
  REQUIRE(made.code == 0);
  fs::remove_all(box / "res");
  const Result ran = box.run(std::vector<std::string>{"run", "out", "-o", "res", "--inputs-dir", "a"} + steps);
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
  return json_of(box / "res/index.json");
}
// The program's flags for what golden/train calls an optimizer.
const std::map<std::string, std::vector<std::string>> flags{
    {"sgd", {"sgd", "--lr", "0.05"}},
    {"sgd_momentum", {"sgd", "--lr", "0.05", "--momentum", "0.9"}},
    {"sgd_nesterov_decay", {"sgd", "--lr", "0.05", "--momentum", "0.9", "--nesterov", "--weight-decay", "0.01"}},
    {"adam", {"adam", "--lr", "0.01"}},
    {"adamw", {"adamw", "--lr", "0.01", "--weight-decay", "0.1"}},
    {"adamw_no_decay",
     {"adamw", "--lr", "0.01", "--eps", "1e-4", "--weight-decay", "0.5", "--no-decay", "*bias", "--no-decay",
      "*layer_norm*"}},
    {"rmsprop", {"rmsprop", "--lr", "0.001", "--alpha", "0.9", "--eps", "1e-7"}},
    {"rmsprop_momentum_centered", {"rmsprop", "--lr", "0.001", "--momentum", "0.9", "--centered"}},
};
const std::vector<std::string> with_golden{"gpt2-tiny",      "opt-tiny",     "opt-tiny-bmm",
                                           "opt-tiny-fresh", "opt350m-tiny", "origin-tiny"};
}  // namespace

TEST_CASE("loss and gradients are PyTorch's, under every name that the model's file has") {
  for (const std::string& name : with_golden) {
    const Sandbox box;
    copy_inputs(box, name);
    const auto golden = json_of(golden_of(name) + "/index.json");
    for (const std::string devices : {"1", "2", "5"}) {
      if (devices == "1" && name != "opt-tiny") continue;
      CAPTURE(name);
      CAPTURE(devices);
      const auto index = trained(box, name, devices, {"sgd"}, {"--dump", "gradients"});
      const double loss = *golden.getAsObject()->getObject("loss")->getNumber("exact");
      CHECK(std::fabs(*(*index.getAsObject()->getArray("losses"))[0].getAsNumber() - loss) <= 2e-6 * loss);
      const auto& files = *index.getAsObject()->getObject("gradients");
      const auto& parameters = *golden.getAsObject()->getObject("parameters");
      CHECK(files.size() == parameters.size());
      for (const auto& [key, entry] : parameters) {
        const std::string parameter = key.str();
        CAPTURE(parameter);
        const auto& p = *entry.getAsObject();
        REQUIRE(files.getString(key));
        const Array found = array_of(box / "res/" + files.getString(key)->str());
        // As near as eight times PyTorch's float32, or a few roundings of the largest element.
        const double bound = std::max({8 * *p.getNumber("torch_error"), 2e-6 * *p.getNumber("largest"), 1e-12});
        CHECK(std::fabs(largest(found) - *p.getNumber("largest")) <= bound);
        CHECK(std::fabs(norm(found) - *p.getNumber("norm")) <= bound * std::sqrt(double(found.elements())));
        if (auto file = p.getString("grad"))
          CHECK(difference(found, array_of(golden_of(name) + "/" + file->str())) <= bound);
      }
    }
  }
}

TEST_CASE("micro-batches with few labels and with many make the step that all rows make at once") {
  const std::string name = "opt-tiny";
  const Sandbox box;
  copy_inputs(box, name);
  // Row 0 has a label for each token, row 1 two.
  HostArray labels = must(read_npy(box / "a/labels.npy")), ids = must(read_npy(box / "a/input_ids.npy"));
  REQUIRE(labels.dims[0] == 2);
  const size_t half = labels.bytes.size() / 2;
  auto* label = reinterpret_cast<int64_t*>(labels.bytes.data());
  std::memcpy(label, ids.bytes.data(), labels.bytes.size());
  for (int64_t k = 2; k < labels.dims[1] - 2; ++k) label[labels.dims[1] + k] = -100;
  REQUIRE(!write_npy(box / "a/labels.npy", labels));
  for (size_t row : {0, 1})
    for (const auto& file : fs::directory_iterator(box / "a")) {
      HostArray array = must(read_npy(file.path().string()));
      array.dims[0] = 1;
      array.bytes =
          std::vector<char>(array.bytes.begin() + long(row * half), array.bytes.begin() + long(row * half + half));
      fs::create_directories(box / std::to_string(row));
      REQUIRE(!write_npy(box / std::to_string(row) + "/" + file.path().filename().string(), array));
    }
  for (const std::string devices : {"1", "3"}) {
    CAPTURE(devices);
    const std::vector<std::string> dump{"--dump", "gradients,parameters,state", "--steps", "2"};
    const auto whole =
        trained(box, name, devices, {"sgd", "--momentum", "0.9", "--lr", "0.05", "--max-grad-norm", "0.5"}, dump);
    fs::rename(box / "res", box / "whole" + devices);
    const Result made = box.run({export_of(name) + "/model.onnx", "--train", "--devices", devices, "-o", "out",
                                 "--overwrite", "--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.05",
                                 "--max-grad-norm", "0.5", "--accumulate", "2"});
    REQUIRE(made.code == 0);
    const Result ran =
        box.run(std::vector<std::string>{"run", "out", "-o", "res", "--inputs-dir", "0", "--inputs-dir", "1"} + dump);
    CAPTURE(ran.err);
    REQUIRE(ran.code == 0);
    const auto parts = json_of(box / "res/index.json");
    for (size_t s : {0, 1})
      CHECK((*parts.getAsObject()->getArray("losses"))[s].getAsNumber().value_or(0) ==
            doctest::Approx(*(*whole.getAsObject()->getArray("losses"))[s].getAsNumber()).epsilon(1e-6));
    for (const char* what : {"gradients", "parameters"}) {
      // A key bias's gradient is zero but for the rounding of what it sums, which is as large as other gradients are.
      double all = 0;
      for (const auto& [key, file] : *whole.getAsObject()->getObject(what))
        all = std::max(all, largest(array_of(box / "whole" + devices + "/" + file.getAsString()->str())));
      for (const auto& [key, file] : *whole.getAsObject()->getObject(what)) {
        const std::string parameter = key.str();
        CAPTURE(parameter);
        const Array expected = array_of(box / "whole" + devices + "/" + file.getAsString()->str());
        CHECK(difference(array_of(box / "res/" + parts.getAsObject()->getObject(what)->getString(key)->str()),
                         expected) <= 1e-5 * largest(expected) + 0x1p-24 * all);
      }
    }
    CHECK(parts.getAsObject()->getObject("state")->getObject("m.model.decoder.embed_tokens.weight")->size() == 1);
  }
}

// On the two folders in turn.
TEST_CASE("three steps of every optimizer lose what PyTorch's lose, and leave its parameters") {
  for (const std::string& name : with_golden) {
    const Sandbox box;
    copy_inputs(box, name);
    const auto golden = json_of(golden_of(name) + "/index.json");
    for (const auto& [key, entry] : *golden.getAsObject()->getObject("optimizers")) {
      const std::string optimizer = key.str();
      CAPTURE(name);
      CAPTURE(optimizer);
      const auto& g = *entry.getAsObject();
      REQUIRE(flags.count(optimizer) == 1);
      if (name != "opt-tiny" && optimizer != "adamw" && optimizer != "rmsprop_momentum_centered") continue;
      const auto index =
          trained(box, name, "2", flags.at(optimizer), {"--inputs-dir", "b", "--steps", "3", "--dump", "parameters"});
      const auto& losses = *index.getAsObject()->getArray("losses");
      const auto& expected = *g.getObject("losses")->getArray("exact");
      REQUIRE(losses.size() == expected.size());
      // Each step amplifies what the one before was off by; PyTorch's float32 is off by up to 1e-6 after three.
      for (size_t k = 0; k < losses.size(); ++k)
        CHECK(*losses[k].getAsNumber() == doctest::Approx(*expected[k].getAsNumber()).epsilon(k == 0 ? 2e-6 : 1e-5));
      if (!g.getObject("parameters")) continue;
      for (const auto& [parameter, after] : *g.getObject("parameters")) {
        const std::string shown = parameter.str();
        CAPTURE(shown);
        const auto& p = *after.getAsObject();
        const Array found = array_of(box / "res/" +
                                     index.getAsObject()->getObject("parameters")->getString(parameter)->str()),
                    wanted = array_of(golden_of(name) + "/" + p.getString("after")->str());
        CHECK(difference(found, wanted) <= std::max({8 * *p.getNumber("torch_error"), 2e-6 * largest(wanted), 1e-12}));
      }
    }
  }
}

TEST_CASE("what training needs or does not know is said in one line") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  auto refused = [&](const std::vector<std::string>& more) {
    const Result r = box.run(std::vector<std::string>{model, "--train", "--devices", "2", "-o", "out"} + more);
    CHECK(r.code == 2);
    CHECK(!fs::exists(box / "out"));
    return r.line();
  };
  CHECK(refused({"--optimizer", "adagrad"}) == "--optimizer 'adagrad': expected sgd, adam, adamw or rmsprop");
  CHECK(refused({"--optimizer", "sgd", "--nesterov"}) == "--nesterov: needs sgd with --momentum above 0");
  CHECK(refused({"--freeze", "*.nothing"}) == "--freeze '*.nothing': matches no parameter");
  CHECK(refused({"--no-decay", "*.nothing"}) == "--no-decay '*.nothing': matches no parameter");
  CHECK(refused({"--no-decay", "*bias", "--no-decay", "[a-"}).find("--no-decay '[a-': ") == 0);
  CHECK(refused({"--lr", "-1"}) == "--lr: expected a finite float32 number of at least 0, found -1");
  CHECK(refused({"--betas", "0.9,1"}) == "--betas: expected a number of at least 0 and below 1, found 1");
  CHECK(refused({"--max-grad-norm", "nan"}) ==
        "--max-grad-norm: expected a finite float32 number of at least 0, found nan");
  CHECK(refused({"--trainable", "*.nothing"}) == "--trainable '*.nothing': matches no parameter");

  copy_inputs(box, "opt-tiny");
  REQUIRE(box.run({model, "--train", "--devices", "2", "-o", "out"}).code == 0);
  fs::remove(box / "a/labels.npy");
  const Result without = box.run({"run", "out", "-o", "res", "--inputs-dir", "a"});
  CHECK(without.code != 0);
  CHECK(without.line().find("labels") != std::string::npos);
  CHECK(!fs::exists(box / "res"));
  const Result dumped = box.run({"run", "out", "-o", "res", "--inputs-dir", "b", "--dump", "weights"});
  CHECK(dumped.code == 2);
  CHECK(dumped.line() == "--dump 'weights': expected gradients, parameters or state");
}

TEST_CASE("what run calls a state is of its parameter's shape, one of each of the optimizer's kinds") {
  const Sandbox box;
  copy_inputs(box, "opt-tiny");
  const auto index = trained(box, "opt-tiny", "3", {"adam"}, {"--dump", "parameters,state"});
  const auto& parameters = *index.getAsObject()->getObject("parameters");
  const auto& state = *index.getAsObject()->getObject("state");
  CHECK(state.size() == parameters.size());
  for (const auto& [key, kinds] : state) {
    const std::string parameter = key.str();
    CAPTURE(parameter);
    CHECK(kinds.getAsObject()->size() == 2);
    for (const char* kind : {"exp_avg", "exp_avg_sq"}) {
      REQUIRE(kinds.getAsObject()->getString(kind));
      CHECK(array_of(box / "res/" + kinds.getAsObject()->getString(kind)->str()).dims ==
            array_of(box / "res/" + parameters.getString(key)->str()).dims);
    }
  }
}

namespace {
// The first label of a row is shifted out, and still no other than a class or -100 is meant by it.
void set_label(const std::string& file, size_t at, int64_t label) {
  HostArray labels = must(read_npy(file));
  reinterpret_cast<int64_t*>(labels.bytes.data())[at] = label;
  REQUIRE(!write_npy(file, labels));
}
void ignore_all(const std::string& file) {
  HostArray labels = must(read_npy(file));
  for (size_t k = 0; k < labels.bytes.size() / 8; ++k) set_label(file, k, -100);
}
}  // namespace

TEST_CASE("a label that is no class is refused with its place, on any number of devices and in check, too") {
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  for (const std::string devices : {"1", "2", "5"}) {
    const Sandbox box;
    copy_inputs(box, "opt-tiny");
    REQUIRE(box.run({model, "--train", "--devices", devices, "-o", "out"}).code == 0);
    for (int64_t label : {257, -1, -2, -101, 1 << 30}) {
      set_label(box / "a/labels.npy", 9 + 4, label);
      const Result r = box.run({"run", "out", "--inputs-dir", "a", "-o", "res"});
      CHECK(r.code == 65);
      const std::string fault =
          "index [1, 4]: expected an id from 0 to 256, the model's classes, or -100, which does not count, found " +
          std::to_string(label);
      CHECK(r.line() == "a: input 'labels': " + fault);
      CHECK(!fs::exists(box / "res"));
      if (devices != "2" || label < -1) continue;
      const Result checked = box.run({"check", model, "--train", "--devices", devices, "--inputs-dir", "a"});
      CHECK(checked.code == 65);
      CHECK(checked.line() == "a: input 'labels': " + fault);
    }
    set_label(box / "a/labels.npy", 9 + 4, 256);
    CHECK(box.run({"run", "out", "--inputs-dir", "a", "-o", "res"}).code == 0);
  }
}

TEST_CASE("a step none of whose labels count is an error that names it; a micro-batch without labels adds nothing") {
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  const std::string none =
      "labels: expected at least one that counts, found none: all are -100 or at a first position, and the mean of "
      "nothing is no loss";
  const Sandbox box;
  copy_inputs(box, "opt-tiny");
  fs::copy(box / "a", box / "none");
  ignore_all(box / "none/labels.npy");
  set_label(box / "none/labels.npy", 0, 5);  // a first position has no token before it
  REQUIRE(box.run({model, "--train", "--devices", "2", "-o", "out", "--optimizer", "adamw"}).code == 0);
  const Result r = box.run({"run", "out", "--inputs-dir", "a", "--inputs-dir", "none", "-o", "res"});
  CHECK(r.code == 65);
  CHECK(r.line() == "step 2: " + none);
  CHECK(!fs::exists(box / "res"));
  CHECK(box.run({"check", model, "--train", "--devices", "2", "--inputs-dir", "none"}).line() == "none: " + none);
  CHECK(box.run({"check", model, "--train", "--devices", "2", "--dim", "batch=2", "--dim", "sequence=1"}).line() ==
        "the batch: " + none);
  // The sums over a micro-batch without labels are 0, wherever it stands.
  std::vector<double> losses;
  REQUIRE(box.run({model, "--train", "--devices", "2", "-o", "two", "--accumulate", "2"}).code == 0);
  for (const auto& [first, second] : {std::pair{"a", "none"}, {"none", "a"}}) {
    REQUIRE(box.run({"run", "two", "--inputs-dir", first, "--inputs-dir", second, "--steps", "2", "-o", "res"}).code ==
            0);
    const auto index = json_of(box / "res/index.json");
    for (const auto& loss : *index.getAsObject()->getArray("losses")) losses.push_back(*loss.getAsNumber());
  }
  REQUIRE(box.run({model, "--train", "--devices", "2", "-o", "one"}).code == 0);
  REQUIRE(box.run({"run", "one", "--inputs-dir", "a", "--steps", "2", "-o", "res"}).code == 0);
  const auto alone = json_of(box / "res/index.json");
  for (size_t k = 0; k < losses.size(); ++k)
    CHECK(losses[k] == doctest::Approx(*(*alone.getAsObject()->getArray("losses"))[k % 2].getAsNumber()).epsilon(1e-6));
}

TEST_CASE("JSON holds null where a loss is infinite or not a number") {
  const Sandbox box;
  copy_inputs(box, "opt-tiny");
  REQUIRE(
      box.run({export_of("opt-tiny") + "/model.onnx", "--train", "--devices", "2", "-o", "out", "--optimizer", "sgd"})
          .code == 0);
  REQUIRE(box.run({"run", "out", "--inputs-dir", "a", "--steps", "3", "--lr", "1e30", "-o", "res"}).code == 0);
  const auto index = json_of(box / "res/index.json");
  const auto& losses = *index.getAsObject()->getArray("losses");
  REQUIRE(losses.size() == 3);
  CHECK(losses[0].getAsNumber());
  CHECK(losses[2].getAsNull());
  CHECK(box.run({"run", "out", "--inputs-dir", "a", "--lr", "nan", "-o", "res"}).line() ==
        "--lr: expected a finite float32 number of at least 0, found nan");
}

TEST_CASE("a plan with a number that no optimizer takes is refused") {
  const Sandbox box;
  copy_inputs(box, "opt-tiny");
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "--train", "--devices", "2", "-o", "out"}).code == 0);
  std::string plan = contents(box / "out/plan.json");
  const size_t at = plan.find("\"learning_rate\":0.001");
  REQUIRE(at != std::string::npos);
  write_text(box / "out/plan.json", plan.replace(at, 21, "\"learning_rate\":-0.01"));
  const Result r = box.run({"run", "out", "--inputs-dir", "a", "-o", "res", "--no-verify"});
  CHECK(r.code == 65);
  CHECK(r.line() ==
        "out/plan.json: training: learning_rate: expected a finite float32 number of at least 0, found -0.01");
}

TEST_CASE("check allows a gradient that is 0 but for rounding what was summed up to it, at several stages") {
  // Softmax does not see a key's bias; here one bias is that of three layers, and its gradient a sum of three such
  // zeros.
  const Sandbox box;
  for (const char* devices : {"2", "3"}) {
    const Result r = box.run({"check", OPTP_TEST_DATA "/models/albert-tiny.onnx", "--train", "--devices", devices,
                              "--dim", "batch=2", "--dim", "sequence=6"});
    CHECK_MESSAGE(r.code == 0, r.err);
  }
}
