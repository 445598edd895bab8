// Which of a decoder's outputs scores the next token.
#include "tools/run/decoder.h"

#include <doctest/doctest.h>

#include "frontend/ir/builder.h"
#include "frontend/ir/graph.h"
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
