// Which mesh axis is whose: data splits the batch, one other axis is the strategy's.
#include "passes/strategy.h"

#include <doctest/doctest.h>

#include "passes/plan/job.h"
#include "tests/frontend/onnx/model_file.h"
#include "tests/must.h"

using namespace optp;

namespace {
llvm::Expected<Job> job(const std::string& mesh, const std::vector<Constraint>& constraints = {}, bool train = false,
                        const char* name = "opt-tiny") {
  JobOptions o;
  o.model = OPTP_TEST_DATA "/exports/" + std::string(name) + "/model.onnx";
  o.mesh = must(parse_mesh(mesh));
  o.constraints = constraints;
  o.train = train;
  return make_job(o);
}
std::string sharding_of(const Job& job, const char* name) {
  const Value* v = job.whole->find(name);
  REQUIRE(v != nullptr);
  return to_string(*v->sharding);
}
// Without the causes, which name who asked.
std::string text_of(const Graph& g) {
  const auto copy = g.clone();
  for (Value* v : copy->inputs) v->cause = {};
  for (Value* v : copy->data()) v->cause = {};
  for (const auto& node : copy->nodes)
    for (const auto& r : node->results) r->cause = {};
  return to_string(*copy);
}
}  // namespace

TEST_CASE("an axis called data splits the batch of every input, and the other axis is the strategy's") {
  const Job both = must(job("data=2,tensor=2"));
  for (const Value* v : both.whole->inputs) {
    CAPTURE(v->name);
    CHECK(v->sharding->dims[0].is_split());
    CHECK(v->sharding->axes() == AxisUses{"data"});
    CHECK(v->cause.text == "data: the batch");
  }
  CHECK(sharding_of(both, "m.model.decoder.layers.0.fc1.bias") == "[tensor]");
  CHECK(both.whole->remarks == must(job("tensor=2")).whole->remarks);  // no axis is idle
}

TEST_CASE("the batch is split as a constraint on the ids would split it, in training too") {
  for (const bool train : {false, true}) {
    const Job by_default = must(job("data=2,tensor=2", {}, train, "opt-tiny-dynamo18"));
    const Job asked =
        must(job("data=2,tensor=2", {{"input_ids", "[data, _]", words("test")}}, train, "opt-tiny-dynamo18"));
    Graph& told = *asked.ranks[3];
    llvm::erase_if(told.remarks, [](const Remark& r) { return r.kind == RemarkKind::constraint; });
    CHECK(text_of(*by_default.ranks[3]) == text_of(told));
    CHECK(told.remarks.size() + 1 == asked.whole->remarks.size());
  }
}

TEST_CASE("caches are split along the batch, too, and stay so from run to run") {
  const Job past = must(job("data=2,tensor=2", {}, false, "opt-tiny-past"));
  REQUIRE(!past.whole->states.empty());
  for (const State& s : past.whole->states) {
    const Value* input = past.whole->find(s.input);
    CHECK(input->sharding->dims[0].is_split());
    CHECK(input->sharding->dims[1].is_split());  // heads
  }
}

TEST_CASE("the strategy's axis may have any name, and data alone needs none") {
  const Job named = must(job("tp=2"));
  CHECK(sharding_of(named, "m.model.decoder.layers.0.fc1.bias") == "[tp]");
  const Job word = must(job("tp=2", {{"*.fc1.weight", "rowwise", words("test")}}));
  CHECK(text_of(*word.whole).find("tp") != std::string::npos);
  const Job data = must(job("data=2"));
  CHECK(sharding_of(data, "m.model.decoder.layers.0.fc1.bias") == "[_]");
  CHECK(data.whole->inputs[0]->sharding->dims[0].is_split());
}

TEST_CASE("of several other axes the one called tensor is the strategy's; without one constraints must say") {
  const Job three = must(job("data=2,expert=2,tensor=2"));
  CHECK(sharding_of(three, "m.model.decoder.layers.0.fc1.bias") == "[tensor]");
  CHECK(three.whole->remarks.back().text.find("nothing is cut over the mesh axis expert") == 0);
  for (const char* mesh : {"expert=2,model=2", "data=2,expert=2,model=2"}) {
    auto none = job(mesh);
    REQUIRE(!none);
    CHECK(llvm::toString(none.takeError()).find("found several others; name one of them tensor") != std::string::npos);
  }
}

TEST_CASE("a batch that is 1 can't be split, and the error says so; another number can") {
  const ScratchFolder folder;
  for (const int64_t batch : {1, 3}) {
    auto m = empty_model();
    add_input(m, "x", onnx::TensorProto::FLOAT, {batch, 3});
    add_floats(m, "w", {3, 4});
    add_node(m, "MatMul", "product", {"x", "w"}, {"y"});
    describe(*m.mutable_graph()->add_output(), "y", onnx::TensorProto::FLOAT, {batch, 4});
    JobOptions o;
    o.model = folder.put("model.onnx", m.SerializeAsString());
    o.mesh = must(parse_mesh("data=2"));
    auto made = make_job(o);
    if (batch == 1) {
      REQUIRE(!made);
      CHECK(
          llvm::toString(made.takeError()).find("strategy data finds nothing to split; the batch of input 'x' is 1") !=
          std::string::npos);
    } else {
      CHECK(must(std::move(made)).ranks[1]->find("x")->type.dims[0] == Dim(1));
    }
  }
}

TEST_CASE("strategies are known by their registration") {
  CHECK(strategy_names() == "megatron or origin");
  CHECK(find_strategy("data") != nullptr);
  CHECK(strategy_of_axis("data") == find_strategy("data"));
  CHECK(find_strategy("megatrom") == nullptr);
  for (const Strategy* s : all_strategies()) CHECK(!std::string(s->summary).empty());
}
