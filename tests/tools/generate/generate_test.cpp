// generate: the tokens that the model's own graph gives, one after the other, on any number of devices.
#include <onnx/onnx_pb.h>

#include <cmath>
#include <sstream>

#include "frontend/io/npy.h"
#include "frontend/onnx/import.h"
#include "nlohmann/json.hpp"
#include "passes/cached_decoder.h"
#include "passes/pipeline.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
using Ids = std::vector<int64_t>;
std::string text_of(const Ids& ids) {
  std::string out;
  for (int64_t id : ids) out += (out.empty() ? "" : ",") + std::to_string(id);
  return out;
}
std::string model_of(const std::string& name) { return export_of(name) + "/model.onnx"; }

// The graph as the file has it, in float64, over the whole text anew for each token.
class Uncached {
 public:
  explicit Uncached(const std::string& model) : graph_(must(import_onnx(model))) {
    must(run_stages(*graph_, "absorb-transposes", "find-states"));
  }
  Ids greedy(Ids text, int64_t tokens) const {
    const size_t given = text.size();
    for (int64_t k = 0; k < tokens; ++k) text.push_back(next(text));
    return Ids(text.begin() + ptrdiff_t(given), text.end());
  }

 private:
  int64_t next(const Ids& text) const {
    const auto n = int64_t(text.size());
    DimValues dims;
    for (Dim d : named_dims_of(*graph_)) dims[name_of(d)->str()] = 1;
    for (const State& s : graph_->states) dims[name_of(graph_->find(s.input)->type.dims[size_t(s.axis)])->str()] = 0;
    dims[name_of(must(ids_of(*graph_))->type.dims[1])->str()] = n;
    auto bound = must(bind_dims(*graph_, dims));
    NamedArrays inputs;
    for (const Value* v : bound->inputs) {
      Array& a = inputs[v->name];
      llvm::SmallVector<int64_t, 4> extents;
      for (Dim d : v->type.dims) extents.push_back(*d.constant());
      a.resize(is_float(v->type.dtype), extents);
      for (size_t k = 0; k < a.i.size(); ++k)
        a.i[k] = v->name == "input_ids" ? text[k] : v->name == "position_ids" ? int64_t(k) : 1;
    }
    const Array logits = must(run_reference({bound.get()}, {inputs}))[0].at("logits");
    const int64_t vocabulary = logits.dims[2];
    const double* last = logits.f.data() + (n - 1) * vocabulary;
    return std::max_element(last, last + vocabulary) - last;
  }
  std::unique_ptr<Graph> graph_;
};

Result generate(const Sandbox& box, const std::string& model, std::vector<std::string> more) {
  more.insert(more.begin(), {"generate", model, "--quiet"});
  return box.run(more);
}
}  // namespace

TEST_CASE("greedy tokens are those of the graph without caches, on any number of devices") {
  const Sandbox box;
  const Ids prompt = {5, 9, 19, 4, 31};
  for (const char* name : {"opt-tiny", "gpt2-tiny", "llama-tiny-dynamo", "neox-tiny", "bigcode-tiny", "phi3-tiny",
                           "olmo2-tiny", "opt-tiny-past", "origin-tiny"}) {
    CAPTURE(name);
    const std::string expected = text_of(Uncached(model_of(name)).greedy(prompt, 8)) + "\n";
    for (const char* devices : {"1", "2", "3", "5"}) {
      CAPTURE(devices);
      const Result r =
          generate(box, model_of(name), {"--devices", devices, "--prompt-ids", text_of(prompt), "--tokens", "8"});
      CAPTURE(r.err);
      CHECK(r.code == 0);
      CHECK(r.out == expected);
    }
  }
}

TEST_CASE("a folder that partition --kv-cache wrote generates what the model does") {
  const Sandbox box;
  for (const char* name : {"opt-tiny", "llama-tiny-dynamo"})
    for (const char* compute : {"f32", "bf16"}) {  // bf16: the model's tables are rounded row by row, the folder's are
      CAPTURE(name);
      CAPTURE(compute);
      const std::vector<std::string> asked = {"--prompt-ids", "2,100,19", "--tokens", "6"},
                                     cut = {"--devices", "3", "--compute", compute};
      const Result from_model = generate(box, model_of(name), asked + cut);
      REQUIRE(from_model.code == 0);
      const std::vector<std::string> partition = {"partition", model_of(name), "--kv-cache", "9",
                                                  "-o",        "out",          "--overwrite"};
      REQUIRE(box.run(partition + cut).code == 0);
      const Result from_folder = generate(box, "out", asked);
      CAPTURE(from_folder.err);
      CHECK(from_folder.code == 0);
      CHECK(from_folder.out == from_model.out);
    }
}

TEST_CASE("a decoder with caches communicates as often as the model does, also with fewer heads than devices") {
  const Sandbox box;
  const auto collectives = [&](const std::string& model, const std::string& devices, const Words& more) {
    REQUIRE(box.run(Words{model, "--devices", devices, "--plan-only", "-o", "plan", "--overwrite"} + more).code == 0);
    std::map<std::string, int> out;
    const auto plan = nlohmann::json::parse(contents(box / "plan/plan.json"));
    for (const auto& c : plan["collectives"]) ++out[c["kind"].get<std::string>()];
    return out;
  };
  for (const char* name : {"opt-tiny", "opt-tiny-fresh", "gpt2-tiny", "llama-tiny-dynamo", "neox-tiny", "bigcode-tiny",
                           "phi3-tiny", "olmo2-tiny", "opt-tiny-past", "opt350m-tiny", "origin-tiny"})
    for (const char* devices : {"2", "3", "8"}) {
      CAPTURE(name);
      CAPTURE(devices);
      CHECK(collectives(model_of(name), devices, {"--kv-cache", "16"}) == collectives(model_of(name), devices, {}));
    }
}

TEST_CASE("rows of different lengths are what each is alone, and -o holds the new tokens") {
  const Sandbox box;
  const std::string model = model_of("opt-tiny");
  const std::vector<std::string> prompts = {"2,100,19", "7", "2,100,20", "1,2,3,4,5,6"};
  std::string each;
  std::vector<std::string> all = {"--tokens", "5", "-o", "made.npy"};
  for (const std::string& p : prompts) {
    const Result alone = generate(box, model, {"--prompt-ids", p, "--tokens", "5"});
    REQUIRE(alone.code == 0);
    each += alone.out;
    all.insert(all.end(), {"--prompt-ids", p});
  }
  const Result together = generate(box, model, all);
  CHECK(together.code == 0);
  CHECK(together.out == each);
  const HostArray made = must(read_npy(box / "made.npy"));
  CHECK(made.dtype == DType::i64);
  CHECK(made.dims == Extents{4, 5});
  std::string lines;
  for (int row = 0; row < 4; ++row) {
    const auto* ids = reinterpret_cast<const int64_t*>(made.bytes.data()) + row * 5;
    lines += text_of(Ids(ids, ids + 5)) + "\n";
  }
  CHECK(lines == each);
}

TEST_CASE("prompts of a file are rows, without the padding at their ends") {
  const Sandbox box;
  Array a;
  a.resize(/*floating=*/false, {2, 4});
  a.i = {2, 100, 19, 0, 0, 0, 0, 7};
  must(write_npy(box / "prompts.npy", host_array(a, DType::i64)));
  const std::string model = model_of("opt-tiny");
  const Result listed = generate(box, model, {"--prompt-ids", "2,100,19", "--prompt-ids", "7", "--tokens", "3"});
  const Result filed = generate(box, model, {"--prompt-file", "prompts.npy", "--pad-id", "0", "--tokens", "3"});
  CHECK(filed.code == 0);
  CHECK(filed.out == listed.out);
  const Result padded = generate(box, model, {"--prompt-file", "prompts.npy", "--tokens", "3"});
  CHECK(padded.code == 0);
  CHECK(padded.out != listed.out);
}

TEST_CASE("a model of a fixed number of rows generates for any number of prompts") {
  const Sandbox box;
  onnx::ModelProto m;
  REQUIRE(m.ParseFromString(contents(model_of("opt-tiny"))));
  m.mutable_graph()->clear_value_info();
  for (auto* values : {m.mutable_graph()->mutable_input(), m.mutable_graph()->mutable_output()})
    for (auto& v : *values) v.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_value(2);
  write_text(box / "two-rows/model.onnx", m.SerializeAsString());
  const Words prompts = {"--prompt-ids", "5,6,7",        "--prompt-ids", "9",        "--prompt-ids",
                         "8,1,3",        "--prompt-ids", "2,2,2",        "--tokens", "5"};
  const Result any = generate(box, model_of("opt-tiny"), prompts);
  REQUIRE(any.code == 0);
  for (const char* devices : {"1", "2"}) {
    const Result r = generate(box, "two-rows/model.onnx", prompts + Words{"--devices", devices});
    CAPTURE(r.err);
    CHECK(r.code == 0);
    CHECK(r.out == any.out);
  }
}

TEST_CASE("a row ends behind a stop id, the others go on, and what is written is filled with the pad id") {
  const Sandbox box;
  const std::string model = model_of("llama-tiny-dynamo");
  const Ids first = Uncached(model).greedy({2, 100, 19}, 6), second = Uncached(model).greedy({7}, 6);
  // A token of the first row that the second does not make.
  size_t at = 1;
  while (at < 5 &&
         (std::count(second.begin(), second.end(), first[at]) ||
          std::find(first.begin(), first.begin() + ptrdiff_t(at), first[at]) != first.begin() + ptrdiff_t(at)))
    ++at;
  REQUIRE(at < 5);
  const Result r = generate(box, model,
                            {"--prompt-ids", "2,100,19", "--prompt-ids", "7", "--tokens", "6", "--stop-ids",
                             "9999," + std::to_string(first[at]), "--pad-id", "77", "-o", "made.npy"});
  CHECK(r.code == 0);
  CHECK(r.out == text_of(Ids(first.begin(), first.begin() + ptrdiff_t(at) + 1)) + "\n" + text_of(second) + "\n");
  const HostArray made = must(read_npy(box / "made.npy"));
  REQUIRE(made.dims == Extents{2, 6});
  const auto* ids = reinterpret_cast<const int64_t*>(made.bytes.data());
  for (size_t k = at + 1; k < 6; ++k) CHECK(ids[k] == 77);
}

TEST_CASE("sampled tokens are the same for a seed, also on other devices, and others for another") {
  const Sandbox box;
  auto sampled = [&](const char* seed, const char* devices) {
    const Result r = generate(box, model_of("llama-tiny-dynamo"),
                              {"--prompt-ids", "5,9,19", "--tokens", "12", "--sample", "--temperature", "1.5", "--seed",
                               seed, "--devices", devices});
    CHECK(r.code == 0);
    return r.out;
  };
  const std::string once = sampled("3", "1");
  CHECK(sampled("3", "1") == once);
  CHECK(sampled("3", "3") == once);
  CHECK(sampled("4", "1") != once);
  const Result greedy =
      generate(box, model_of("llama-tiny-dynamo"), {"--prompt-ids", "5,9,19", "--tokens", "12", "--devices", "1"});
  CHECK(greedy.out != once);
}

TEST_CASE("more tokens than the first caches have room for make them grow, and nothing else changes") {
  const Sandbox box;
  const std::string model = model_of("llama-tiny-dynamo");
  const std::string expected = text_of(Uncached(model).greedy({5, 9}, 70)) + "\n";
  const Result r = generate(box, model, {"--prompt-ids", "5,9", "--tokens", "70", "--json", "times.json"});
  CHECK(r.code == 0);
  CHECK(r.out == expected);
  const auto json = nlohmann::json::parse(contents(box / "times.json"));
  CHECK(json["steps"] == 69);
  CHECK(json["token_ms"].get<double>() > 0);
  CHECK(json["cache_bytes_per_device"].get<int64_t>() > 0);
}

TEST_CASE("the last token that is made needs no place in caches and tables") {
  const Sandbox box;
  const std::string model = model_of("opt-tiny");  // 64 positions
  const std::string expected = text_of(Uncached(model).greedy({2, 9}, 63)) + "\n";
  CHECK(generate(box, model, {"--prompt-ids", "2,9", "--tokens", "63"}).out == expected);
  CHECK(generate(box, model, {"--prompt-ids", "2,9", "--tokens", "63", "--kv-cache", "64", "--devices", "2"}).out ==
        expected);
  CHECK(generate(box, model, {"--prompt-ids", "2", "--tokens", "1", "--kv-cache", "1"}).code == 0);
}

TEST_CASE("what can't be generated is refused before anything runs, and says why") {
  const Sandbox box;
  const std::string opt = model_of("opt-tiny");
  REQUIRE(box.run({"partition", opt, "--kv-cache", "8", "-o", "cached"}).code == 0);
  fs::copy(box / "cached", box / "damaged", fs::copy_options::recursive);
  const auto weights = fs::file_size(box / "damaged/rank0/model.onnx.data");
  fs::resize_file(box / "damaged/rank0/model.onnx.data", weights - 1);
  REQUIRE(box.run({"partition", opt, "-o", "plain"}).code == 0);
  REQUIRE(box.run({"partition", model_of("opt-tiny-past"), "-o", "past"}).code == 0);
  struct Case {
    std::string model;
    std::vector<std::string> arguments;
    int code;
    std::string line;
  };
  const std::string long_table =
      opt + ": table 'm.model.decoder.embed_positions.weight': expected rows for 100003 tokens, found for 64";
  const std::string caches =
      ": caches: expected room for 9 tokens, prompt and all new ones but the last, found for 8; cut the model "
      "with a larger --kv-cache, or make fewer tokens";
  const std::vector<Case> cases = {
      {opt, {}, 2, "a prompt: expected --prompt-ids or --prompt-file, found neither"},
      {opt, {"--prompt-ids", "1,x"}, 2, "--prompt-ids '1,x': expected ids between commas, such as 2,100,19, found 'x'"},
      {opt,
       {"--prompt-ids", "1,-4"},
       2,
       "--prompt-ids '1,-4': expected ids between commas, such as 2,100,19, found '-4'"},
      {opt,
       {"--prompt-ids", "1", "--prompt-ids", "3,257"},
       65,
       "prompt 1: expected ids below 257, the rows of the table that 'input_ids' chooses from, found 257"},
      {opt, {"--prompt-ids", "1", "--tokens", "0"}, 2, "--tokens: expected at least 1, found 0"},
      {opt, {"--prompt-ids", "1", "--kv-cache", "0"}, 2, "--kv-cache: expected at least 1, found 0"},
      {opt,
       {"--prompt-ids", "1", "-o", "none/tokens.npy"},
       73,
       "none/tokens.npy: its folder cannot be opened: no such file or directory"},
      {opt,
       {"--prompt-ids", "1", "--sample", "--temperature", "0"},
       2,
       "--temperature: expected above 0; without --sample the most likely token is taken"},
      {opt, {"--prompt-ids", "1", "--sample", "--top-p", "1.5"}, 2, "--top-p: expected above 0, at most 1"},
      {opt, {"--prompt-ids", "1,2,3", "--tokens", "7", "--kv-cache", "8"}, 65, opt + caches},
      {"cached", {"--prompt-ids", "1,2,3", "--tokens", "7"}, 65, "cached" + caches},
      {"cached",
       {"--prompt-ids", "1", "--devices", "2"},
       2,
       "--devices: is settled by the plan of 'cached'; give the model's file, or partition it anew"},
      {"cached", {"--prompt-ids", "1", "--seed", "3"}, 2, "--seed requires --sample"},
      {"damaged",
       {"--prompt-ids", "1", "--tokens", "2"},
       65,
       "damaged/rank0/model.onnx.data: size: expected " + std::to_string(weights) +
           " bytes as in the manifest, found " + std::to_string(weights - 1)},
      {"plain",
       {"--prompt-ids", "1"},
       65,
       "plain: generating: expected rank graphs with caches of a fixed number of tokens, found none; partition the "
       "model "
       "with --kv-cache"},
      {"past",
       {"--prompt-ids", "1"},
       65,
       "past: generating: expected rank graphs with caches of a fixed number of tokens, found caches that grow; "
       "partition the model with --kv-cache"},
      {opt, {"--prompt-ids", "1,2,3", "--tokens", "100001"}, 65, long_table},
      {opt, {"--prompt-ids", "1", "--kv-cache", "100003"}, 65, long_table},
      {model_of("bert-tiny"),
       {"--prompt-ids", "1"},
       65,
       model_of("bert-tiny") +
           ": node '/m/bert/encoder/layer.1/attention/self/Softmax' (Softmax): a cache for decoding: "
           "expected a mask that keeps later tokens out, as a decoder's, found scores that let them in"},
  };
  for (const Case& c : cases) {
    const Result r = generate(box, c.model, c.arguments);
    CAPTURE(r.line());
    CHECK(r.code == c.code);
    CHECK(r.line() == c.line);
    CHECK(r.out == "");
  }
}

TEST_CASE("bench --decode times each token behind a prompt, and refuses what tables have no room for") {
  const Sandbox box;
  const std::string model = model_of("opt-tiny");
  const Result r = box.run({"bench", model, "--devices", "2", "--decode", "5", "--dim", "batch=2", "--dim",
                            "sequence=7", "--json", "times.json"});
  CAPTURE(r.err);
  REQUIRE(r.code == 0);
  CHECK(r.out.find("2 × 7 tokens, then 5 more") != std::string::npos);
  const auto json = nlohmann::json::parse(contents(box / "times.json"));
  CHECK(json["rows"] == 2);
  CHECK(json["prompt_tokens"] == 7);
  CHECK(json["tokens"] == 5);
  CHECK(json["min_ms"].get<double>() <= json["median_ms"].get<double>());
  CHECK(json["median_ms"].get<double>() <= json["p90_ms"].get<double>());
  // Keys and values of two layers, 2 rows of 12 tokens, of half of 48 columns of float32.
  CHECK(json["cache_bytes_per_device"] == 2 * 2 * 2 * 12 * 24 * 4);
  CHECK(box.run({"bench", model, "--decode", "5", "--dim", "sequence=100000"}).code == 65);
}
