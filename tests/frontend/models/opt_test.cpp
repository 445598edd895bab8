#include "frontend/models/opt.h"

#include <onnx/onnx_pb.h>
#include <sys/stat.h>

#include <csignal>
#include <map>

#include "frontend/models/graph_writer.h"
#include "frontend/onnx/import.h"
#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
GraphWriter graph_of(const OptConfig& config) {
  GraphWriter graph(config.name, "m.onnx.data");
  config.variant == ModelVariant::origin ? add_origin(graph, config) : add_opt(graph, config);
  return graph;
}
OptConfig small(const char* name, OptOverrides overrides = {}) {
  overrides.hidden = 16, overrides.heads = 4, overrides.layers = 2, overrides.vocab = 53;
  return get(configure(name, overrides));
}
std::map<std::string, std::string> data_of(const Graph& graph) {
  std::map<std::string, std::string> result;
  for (const Value* value : graph.data()) result[value->name] = to_string(value->type);
  return result;
}
}  // namespace

TEST_CASE("presets have exactly as many parameters as the models they are named after") {
  const std::pair<const char*, int64_t> counts[] = {
      {"opt-125m", 125'239'296},    {"opt-350m", 331'196'416},   {"opt-1.3b", 1'315'758'080},
      {"opt-2.7b", 2'651'596'800},  {"opt-6.7b", 6'658'473'984}, {"opt-13b", 12'853'473'280},
      {"opt-30b", 29'974'540'288},  {"opt-66b", 65'719'701'504}, {"opt-175b", 174'604'468'224},
      {"origin-125m", 162'302'545},
  };
  CHECK(preset_names().size() == std::size(counts));
  for (const auto& [name, count] : counts) {
    CAPTURE(name);
    CHECK(parameter_count(get(preset(name))) == count);
  }
  OptOverrides untied;
  untied.untied = true;
  CHECK(parameter_count(get(configure("opt-125m", untied))) == 125'239'296 + 768 * 50272);
}

TEST_CASE("a graph has the parameters that its config counts, one after the other at multiples of 4 KiB") {
  OptOverrides untied;
  untied.untied = true;
  std::vector<OptConfig> configs{small("opt-125m"), small("opt-350m"), small("origin-125m"), small("opt-350m", untied)};
  for (const std::string& name : preset_names()) configs.push_back(get(preset(name)));
  for (const OptConfig& config : configs) {
    CAPTURE(config.name);
    const GraphWriter graph = graph_of(config);
    onnx::ModelProto model;
    REQUIRE(model.ParseFromString(graph.serialized()));
    int64_t elements = 0, end_bytes = 0;
    for (const onnx::TensorProto& tensor : model.graph().initializer()) {
      CAPTURE(tensor.name());
      int64_t count = 1;
      for (int64_t dim : tensor.dims()) count *= dim;
      std::map<std::string, std::string> external;
      for (const auto& entry : tensor.external_data()) external[entry.key()] = entry.value();
      CHECK(external["location"] == "m.onnx.data");
      CHECK(external["offset"] == std::to_string((end_bytes + 4095) / 4096 * 4096));
      CHECK(external["length"] == std::to_string(4 * count));
      elements += count;
      end_bytes = std::stoll(external["offset"]) + 4 * count;
    }
    CHECK(elements == parameter_count(config));
    CHECK(end_bytes >= 4 * elements);
    CHECK(end_bytes < 4 * elements + int64_t{4096} * model.graph().initializer_size());
    CHECK(model.ir_version() == 8);
    CHECK(model.opset_import(0).version() == 17);
  }
}

TEST_CASE("a size that is not given follows from hidden, and one that is given stays") {
  OptOverrides overrides;
  overrides.hidden = 64;
  const OptConfig config = get(configure("opt-350m", overrides));
  CHECK(config.ffn == 256);
  CHECK(config.word_embed_proj_dim == 32);
  CHECK(config.layers == 24);
  CHECK_FALSE(config.pre_norm);
  overrides.ffn = 100, overrides.heads = 4;
  CHECK(get(configure("opt-125m", overrides)).ffn == 100);
  CHECK(get(configure("opt-125m", overrides)).word_embed_proj_dim == 64);
  overrides.hidden = 1, overrides.heads = 1;
  CHECK(get(configure("opt-350m", overrides)).word_embed_proj_dim == 1);
}

TEST_CASE("what no model can be is a usage error that says which size is wrong") {
  const auto message = [](const char* name, OptOverrides overrides) {
    const Failure f = failure(configure(name, overrides));
    CHECK(f.fault == Fault::usage);
    return f.message;
  };
  const std::string known =
      "opt-125m, opt-350m, opt-1.3b, opt-2.7b, opt-6.7b, opt-13b, opt-30b, opt-66b, opt-175b, origin-125m";
  CHECK(message("opt-12m", {}) == "unknown preset 'opt-12m'; did you mean opt-125m? there are " + known);
  CHECK(message("facebook/OPT-6.7B", {}) ==
        "unknown preset 'facebook/OPT-6.7B'; did you mean opt-6.7b? there are " + known);
  CHECK(message("llama", {}) == "unknown preset 'llama'; there are " + known);
  CHECK(message("opt-125m", {.heads = 5}) == "opt-125m: heads: expected a divisor of hidden (768), found 5");
  CHECK(message("opt-125m", {.layers = 0}) == "opt-125m: layers: expected 1 to 10000, found 0");
  CHECK(message("opt-125m", {.vocab = -1}) == "opt-125m: vocab: expected 1 to 2147483648, found -1");
  CHECK(has(message("opt-125m", {.hidden = INT64_MAX}), "hidden: expected 1 to"));
  CHECK(has(message("opt-125m", {.layers = 10'000, .hidden = int64_t{1} << 31, .heads = 1, .ffn = int64_t{1} << 31}),
            "more bytes"));
}

TEST_CASE("small models are imported with the shapes of their config") {
  const ScratchFolder scratch;
  for (const char* name : {"opt-125m", "opt-350m", "origin-125m"}) {
    CAPTURE(name);
    const OptConfig config = small(name);
    good(build_model(config, scratch / "m.onnx"));
    CHECK(scratch.names() == std::vector<std::string>{"m.onnx", "m.onnx.data"});
    const auto graph = get(import_onnx(scratch / "m.onnx"));
    REQUIRE(graph->outputs.size() == 1);
    CHECK(graph->outputs[0].name == "logits");
    CHECK(to_string(graph->outputs[0].value->type) == "f32[batch, sequence, 53]");
    CHECK(graph->inputs.size() == (config.variant == ModelVariant::origin ? 1 : 2));
    for (const Value* input : graph->inputs) CHECK(to_string(input->type) == "i64[batch, sequence]");
    CHECK(graph->guards.empty());
    auto data = data_of(*graph);
    if (config.variant == ModelVariant::origin) {
      CHECK(data["embed_tokens.weight"] == "f32[53, 16]");
      CHECK(data["layers.1.mlp_fc1.weight"] == "f32[16, 64]");
      CHECK(data["lm_head.weight"] == "f32[16, 53]");
      CHECK(data["lm_head.bias"] == "f32[53]");
    } else {
      CHECK(data["model.decoder.embed_tokens.weight"] == (config.pre_norm ? "f32[53, 16]" : "f32[53, 8]"));
      CHECK(data["model.decoder.embed_positions.weight"] == "f32[2050, 16]");
      CHECK(data["model.decoder.layers.0.self_attn.q_proj.weight"] == "f32[16, 16]");
      CHECK(data["model.decoder.layers.1.fc1.weight"] == "f32[64, 16]");
      CHECK(data.count("lm_head.weight") == 0);
      CHECK(data.count("model.decoder.final_layer_norm.weight") == config.pre_norm);
      CHECK(data.count("model.decoder.project_out.weight") == !config.pre_norm);
    }
    for (const Value* value : graph->data()) CHECK_FALSE(value->data->is_missing());
  }
}

TEST_CASE("a seed decides every byte, and each parameter its own") {
  const ScratchFolder scratch;
  const OptConfig config = small("opt-125m");
  good(build_model(config, scratch / "a.onnx", {.seed = 7}));
  const std::string graph = contents(scratch / "a.onnx"), data = contents(scratch / "a.onnx.data");
  good(build_model(config, scratch / "a.onnx", {.seed = 7}));  // over the old one
  CHECK(contents(scratch / "a.onnx") == graph);
  CHECK(contents(scratch / "a.onnx.data") == data);
  good(build_model(config, scratch / "a.onnx", {.seed = 8}));
  CHECK(contents(scratch / "a.onnx") == graph);
  CHECK(contents(scratch / "a.onnx.data") != data);

  std::map<std::string, int> seen;
  const GraphWriter writer = graph_of(config);
  for (const RandomParameter& p : writer.parameters()) ++seen[data.substr(size_t(p.offset_bytes), 16)];
  for (const auto& [bytes, times] : seen) CHECK(times == 1);
}

TEST_CASE(
    "without weights the graph is the same and its data is missing; data of another model is not left beside it") {
  const ScratchFolder scratch;
  const OptConfig config = small("opt-125m");
  good(build_model(config, scratch / "m.onnx", {.with_weights = false}));
  CHECK(scratch.names() == std::vector<std::string>{"m.onnx"});
  const std::string graph = contents(scratch / "m.onnx");
  const auto imported = get(import_onnx(scratch / "m.onnx"));
  int missing = 0;
  for (const Value* value : imported->data()) missing += value->data->is_missing();
  CHECK(missing == int(graph_of(config).parameters().size()));

  good(build_model(config, scratch / "m.onnx"));
  CHECK(contents(scratch / "m.onnx") == graph);
  const Failure f = failure(build_model(config, scratch / "m.onnx", {.with_weights = false}));
  CHECK(f.fault == Fault::cannot_write);
  CHECK(has(f.message, "m.onnx.data: expected nothing there"));
  CHECK(scratch.names() == std::vector<std::string>{"m.onnx", "m.onnx.data"});
}

TEST_CASE("what cannot be written is refused with one line, and nothing is left") {
  const ScratchFolder scratch;
  const OptConfig config = small("opt-125m");
  const auto message = [&](const std::string& path) {
    const Failure f = failure(build_model(config, path));
    CHECK(f.fault == Fault::cannot_write);
    return f.message;
  };
  CHECK(has(message(scratch / "none/m.onnx"),
            "none/m.onnx.data: its folder cannot be opened: no such file or directory"));
  CHECK(has(message(scratch / ""), "expected the name of a file"));
  CHECK(scratch.names().empty());
  REQUIRE(::mkfifo((scratch / "fifo").c_str(), 0600) == 0);
  CHECK(has(message(scratch / "fifo"), "expected a regular file or nothing, found a FIFO"));
  REQUIRE(::mkdir((scratch / "m.onnx.data").c_str(), 0700) == 0);
  CHECK(has(message(scratch / "m.onnx"), "expected a regular file or nothing, found a folder"));
  CHECK(scratch.names() == std::vector<std::string>{"fifo", "m.onnx.data"});
}

TEST_CASE("a build that is killed while it draws leaves nothing behind") {
  const ScratchFolder scratch;
  const auto [code, text] = in_child([&] {
    BuildOptions options;
    options.progress = [](int64_t, int64_t) { ::raise(SIGKILL); };
    llvm::consumeError(build_model(small("opt-125m"), scratch / "m.onnx", options));
    return 0;
  });
  CHECK(code == 128 + SIGKILL);
  CHECK(scratch.names().empty());
}

TEST_CASE("progress ends at the whole") {
  const ScratchFolder scratch;
  const OptConfig config = small("opt-125m");
  int64_t last = 0, total = 0, calls = 0;
  BuildOptions options;
  options.progress = [&](int64_t done_bytes, int64_t total_bytes) {
    CHECK(done_bytes >= last);
    last = done_bytes, total = total_bytes, ++calls;
  };
  good(build_model(config, scratch / "m.onnx", options));
  CHECK(calls > 0);
  CHECK(total == 4 * parameter_count(config));
  CHECK(last == total);
}

}  // namespace optp
