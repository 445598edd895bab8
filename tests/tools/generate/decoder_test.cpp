// Which of a decoder's outputs scores the next token.
#include "tools/run/decoder.h"

#include <doctest/doctest.h>

#include "frontend/ir/builder.h"
#include "frontend/ir/graph.h"
#include "frontend/ir/parse.h"
#include "passes/cached_decoder.h"
#include "runtime/comm/thread_communicator.h"
#include "tests/must.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
// Scores of the token after these; `edit` may change a rank's graph before.
llvm::Expected<std::vector<double>> try_scores_after(llvm::ArrayRef<int64_t> ids,
                                                     llvm::function_ref<void(Graph&)> edit) {
  JobOptions o;
  o.model = export_of("opt-tiny") + "/model.onnx";
  o.kv_cache = Dim::symbol("capacity");
  o.last_logits = true;
  Job job = must(make_job(o));
  for (auto& rank : job.ranks) edit(*rank);
  ThreadWorld world(job.ranks.size());
  auto decoder = Decoder::create(world, job, "", {});
  if (!decoder) return decoder.takeError();
  REQUIRE(!(*decoder)->begin(1, 8));
  return (*decoder)->take(ids, int64_t(ids.size()));
}
std::vector<double> scores_after(llvm::ArrayRef<int64_t> ids, llvm::function_ref<void(Graph&)> edit) {
  return must(try_scores_after(ids, edit));
}
}  // namespace

TEST_CASE("logits of any name are found beside hidden states that stand before them") {
  const int64_t ids[] = {5, 6, 7};
  const auto expected = scores_after(ids, [](Graph&) {});
  CHECK(expected.size() == 257);
  const auto found = scores_after(ids, [](Graph& graph) {
    Value* hidden = graph.find("/m/decoder/final_layer_norm/LayerNormalization_output_0");
    REQUIRE(hidden);
    REQUIRE(graph.outputs[0].name == "logits");
    graph.outputs[0].name = "scores";
    graph.outputs.insert(graph.outputs.begin(), {"hidden", hidden});
  });
  CHECK(found == expected);
}

TEST_CASE("logits of the last token alone are taken, and what a row has too few classes in is not") {
  const int64_t ids[] = {5, 6, 7};
  const auto expected = scores_after(ids, [](Graph&) {});
  // Of [batch, 1, 257].
  const auto give_first = [](Graph& graph, int64_t classes) {
    Value& logits = *graph.outputs[0].value;
    Builder build(graph);
    Value* first = must(build.create(
        "slice", {&logits}, {{"axis", int64_t(2)}, {"start", Dim(0)}, {"size", Dim(classes)}, {"step", int64_t(1)}}));
    graph.outputs[0].value = must(build.create("reshape", {first}, {{"dims", Dims{logits.type.dims[0], classes}}}));
  };
  CHECK(scores_after(ids, [&](Graph& graph) { give_first(graph, 257); }) == expected);
  auto few = try_scores_after(ids, [&](Graph& graph) { give_first(graph, 256); });
  REQUIRE(!few);
  CHECK(llvm::toString(few.takeError())
            .find("expected an output of logits, [batch, sequence, vocabulary] or those of the last token, [batch, "
                  "vocabulary], found none") != std::string::npos);
}

TEST_CASE("places that are given for all rows at once are those of each") {
  auto plain = must(parse_graph(R"(
input %input_ids: i64[batch, sequence]
input %position_ids: i64[1, sequence]
data %table: f32[5, 2] = [1, 2, 0, 1, 3, -1, 2, 2, -1, 0]
data %places: f32[8, 2] = [0, 1, 2, 0, -1, 1, 3, 0, 1, -2, 0, 0, 1, 1, 2, 2]
data %least: f32[] = -1e9
%i = iota() {dtype = 7, size = sequence, start = 0, step = 1}
%rows = reshape(%i) {dims = [sequence, 1]}
%columns = reshape(%i) {dims = [1, sequence]}
%earlier = less_equal(%columns, %rows)
%x = gather(%table, %input_ids) {axis = 0}
%at = gather(%places, %position_ids) {axis = 0}
%h = add(%x, %at)
%scores = contract(%h, %h) {loops = "b s d, b t d -> b s t"}
%masked = where(%earlier, %scores, %least)
%p = softmax(%masked) {axis = 2}
%o = contract(%p, %h) {loops = "b s t, b t d -> b s d"}
%logits = contract(%o, %table) {loops = "b s k, n k -> b s n"}
output logits = %logits
)",
                                "text"));
  const auto scores = [&](const std::vector<std::vector<int64_t>>& steps, int64_t rows) {
    ThreadWorld world(1);
    PerRank<std::unique_ptr<Graph>> ranks(world.held());
    ranks[0] = must(cached_decoder(*plain, Dim::symbol("capacity")));
    for (Value* v : ranks[0]->inputs) v->sharding = replicated(v->ndim());
    auto decoder = must(Decoder::create(world, std::move(ranks), Mesh(), {.ids = "input_ids", .table_rows = 5}));
    REQUIRE(!decoder->begin(rows, 6));
    std::vector<double> out;
    for (const auto& ids : steps) out = must(decoder->take(ids, int64_t(ids.size()) / rows));
    return out;
  };
  const auto both = scores({{1, 2, 4, 4, 3, 0}, {3, 1}}, 2), first = scores({{1, 2, 4}, {3}}, 1),
             second = scores({{4, 3, 0}, {1}}, 1);
  REQUIRE(both.size() == 10);
  for (size_t k = 0; k < 5; ++k) {
    CHECK(both[k] == doctest::Approx(first[k]));
    CHECK(both[k + 5] == doctest::Approx(second[k]));
  }
}

TEST_CASE("logits in parts are refused: a device would choose among those that it has") {
  const Sandbox box;
  const std::string model = export_of("opt-tiny") + "/model.onnx";
  REQUIRE(box.run({model, "--kv-cache", "16", "--outputs", "sharded", "-o", "out"}).code == 0);
  const std::string refused =
      "generating: output 'logits': expected whole on every device, found [_, _, tensor]; "
      "--outputs whole, which is the default";
  for (const Words& command :
       {Words{"generate", "out", "--prompt-ids", "5,6,7", "--tokens", "4"},
        Words{"bench", model, "--decode", "2", "--outputs", "sharded", "--dim", "batch=1", "--dim", "sequence=4"}}) {
    const Result r = box.run(command);
    CHECK(r.code == 65);
    CHECK(r.line().find(refused) != std::string::npos);
  }
}
