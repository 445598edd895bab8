// A plan is written and read without loss, and what reads it never meets a member that is missing or of another type.
#include "passes/plan/plan_json.h"

#include <set>

#include "passes/plan/layouts.h"
#include "passes/plan/make_plan.h"
#include "passes/plan/plan_parts.h"
#include "tests/must.h"
#include "tests/tools/json_schema.h"

using namespace optp;

namespace {
using JsonArray = llvm::json::Array;
using JsonObject = llvm::json::Object;
using JsonValue = llvm::json::Value;

Plan plan_of(const std::string& name, bool train, const std::string& mesh = "2") {
  JobOptions o;
  o.model = export_of(name) + "/model.onnx";
  o.mesh = must(parse_mesh(mesh));
  o.train = train;
  o.training.optimizer.name = "adamw";
  o.training.optimizer.weight_decay = 0.1;
  o.training.no_decay = {"*"};
  const Job job = must(make_job(o));
  return make_plan(job, example_dims(*job.whole, {}), "0", true);
}
std::string text_of(const JsonValue& json) {
  std::string text;
  llvm::raw_string_ostream(text) << json;
  return text;
}
std::string refusal(const std::string& text) {
  auto plan = parse_plan("plan.json", text);
  return plan ? "" : llvm::toString(plan.takeError());
}

// Each member of a value, of lists the first entry's and of each object of another form one: with its path.
void for_each_member(
    JsonValue& value, const std::string& path,
    llvm::function_ref<void(JsonObject& of, const std::string& member, const std::string& path)> visit) {
  if (JsonArray* list = value.getAsArray()) {
    std::set<std::string> seen;
    for (size_t k = 0; k < list->size(); ++k) {
      std::string form;
      if (const JsonObject* o = (*list)[k].getAsObject())
        for (const auto& [name, member] : *o) form += name.str() + " ";
      if (seen.insert(form).second) for_each_member((*list)[k], path + "[" + std::to_string(k) + "]", visit);
    }
  }
  JsonObject* object = value.getAsObject();
  if (!object) return;
  std::vector<std::string> names;
  for (const auto& [name, member] : *object) names.push_back(name.str());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string place = path.empty() ? name : path + "." + name;
    visit(*object, name, place);
    for_each_member(*object->get(name), place, visit);
  }
}
// What docs/plan-schema.md marks as optional, and names that are the model's own.
bool may_be_absent(const std::string& path) {
  const llvm::StringRef p = path;
  for (const char* optional : {".from",
                               ".equals",
                               ".rows",
                               ".classes",
                               ".parameter",
                               "].kind",
                               ".phase",
                               ".transposed_aliases",
                               ".model_name",
                               ".model_aliases",
                               ".module",
                               ".capacity",
                               ".producer",
                               ".consumers",
                               ".node",
                               ".activation_peak_bytes",
                               ".tensor",
                               "training.momentum",
                               "training.weight_decay",
                               "training.beta1",
                               "training.beta2",
                               "training.eps",
                               "training.alpha",
                               "training.no_decay"})
    if (p.ends_with(optional)) {
      // The same words are required elsewhere.
      if (p.ends_with("].kind")) return p.starts_with("inputs") || p.starts_with("outputs") || p.starts_with("remarks");
      if (p.ends_with(".phase")) return p.starts_with("values");
      if (p.ends_with(".tensor")) return p.starts_with("remarks");
      return true;
    }
  return false;
}
// What stands in the file instead of a member: of another type than any that it may have.
JsonValue mistyped(const JsonValue& value) {
  if (value.getAsArray()) return JsonObject();
  if (value.getAsObject()) return JsonArray();
  return JsonArray{JsonObject()};
}
}  // namespace

TEST_CASE("a plan that was written and read is written as the same text") {
  for (const char* name : {"opt-tiny", "opt-tiny-past", "llama-tiny-dynamo", "gpt2-tiny", "origin-125m-structure"})
    for (const char* mesh : {"1", "2", "5", "data=2,tensor=2"})
      for (bool train : {false, true}) {
        CAPTURE(name);
        CAPTURE(mesh);
        const std::string text = to_text(plan_of(name, train, mesh));
        CHECK(to_text(must(parse_plan("plan.json", text))) == text);
      }
}

TEST_CASE("a plan alone, for which one rank's graph is made, is the one that is written beside all graphs") {
  const Sandbox box;
  for (const std::vector<std::string>& job :
       {std::vector<std::string>{"--devices", "5"},
        {"--mesh", "data=3,tensor=2", "--train", "--accumulate", "2", "--zero", "2"},
        {"--mesh", "data=2,tensor=3", "--train", "--zero", "3", "--dim", "batch=3", "--loss-chunks", "2"}}) {
    const std::vector<std::string> words = std::vector<std::string>{export_of("opt-tiny") + "/model.onnx"} + job;
    REQUIRE(box.run(words + std::vector<std::string>{"-o", "whole", "--overwrite", "--no-weights"}).code == 0);
    REQUIRE(box.run(words + std::vector<std::string>{"-o", "alone", "--overwrite", "--plan-only"}).code == 0);
    CHECK(contents(box / "alone/plan.json") == contents(box / "whole/plan.json"));
  }
}

TEST_CASE("an extent that may be 0 is read from a plan as one that may") {
  for (const char* mesh : {"1", "2", "data=2,tensor=2"}) {
    CAPTURE(mesh);
    const Plan plan = plan_of("opt-tiny-past", false, mesh);
    const Plan again = must(parse_plan("plan.json", to_text(plan)));
    size_t may_be_empty = 0;
    auto same = [&](const auto& found, const auto& expected) {
      REQUIRE(found.size() == expected.size());
      for (size_t k = 0; k < found.size(); ++k) {
        CHECK(found[k].dims == expected[k].dims);
        may_be_empty += size_t(llvm::count_if(found[k].dims, [](Dim d) { return lower_bound(d) == 0; }));
      }
    };
    same(again.inputs, plan.inputs), same(again.outputs, plan.outputs), same(again.values, plan.values);
    CHECK(may_be_empty > 0);
  }
}

TEST_CASE("a plan that lacks a member, or has one of another type, is refused with the member's path") {
  for (bool train : {false, true}) {
    Plan plan = plan_of(train ? "opt-tiny" : "opt-tiny-past", train);
    if (!train) plan.state.at(0).capacity = Dim(64);
    plan.devices[0].activation_peak_bytes = 1;
    plan.remarks.push_back({{"annotate", "a remark", RemarkKind::constraint}, "a tensor", "a node"});
    JsonValue json = must(parse_json("plan.json", to_text(plan)));
    REQUIRE(refusal(text_of(json)) == "");
    size_t members = 0;
    for_each_member(json, "", [&](JsonObject& of, const std::string& member, const std::string& path) {
      ++members;
      CAPTURE(path);
      const JsonValue good = *of.get(member);
      of.erase(member);
      const std::string missing = refusal(text_of(json));
      // An entry of the flow that is no collective is an operation, and lacks its members.
      if (llvm::StringRef(path).ends_with("].collective"))
        CHECK(llvm::StringRef(missing).contains(llvm::StringRef(path).drop_back(10).str() + "operator"));
      else if (llvm::StringRef(path).starts_with("dims.") && llvm::StringRef(path).count('.') == 1)
        CHECK(llvm::StringRef(missing).contains("shape: expected names that stand in dims"));
      else if (!may_be_absent(path))
        CHECK(llvm::StringRef(missing).contains(path));
      else
        CHECK(missing == "");
      of[member] = mistyped(good);
      CHECK(llvm::StringRef(refusal(text_of(json))).contains(path));
      of[member] = nullptr;
      CHECK(llvm::StringRef(refusal(text_of(json))).contains(path));
      of[member] = good;
    });
    CHECK(members > 150);
    CHECK(refusal(text_of(json)) == "");
  }
}

TEST_CASE("inspect and run refuse a plan without a member as bad input, in one line") {
  const Sandbox box;
  REQUIRE(box.run({export_of("opt-tiny") + "/model.onnx", "-o", "out"}).code == 0);
  const JsonValue good = json_of(box / "out/plan.json");
  for (const char* member : {"outputs_as", "layouts", "totals", "devices"}) {
    JsonValue plan = good;
    plan.getAsObject()->erase(member);
    write_text(box / "out/plan.json", text_of(plan));
    for (const auto& command : {std::vector<std::string>{"inspect", "out"},
                                {"inspect", "out", "--html", "page.html"},
                                {"diff", "out", "out"},
                                {"run", "out", "-o", "res"}}) {
      const Result r = box.run(command);
      CHECK(r.code == 65);
      CHECK(
          llvm::StringRef(r.err).contains("out/plan.json: " + std::string(member) + ": expected a value, found none"));
    }
  }
}

TEST_CASE("a plan of another version is refused by its number, with the way out") {
  std::string text = to_text(plan_of("opt-tiny", false));
  const std::string version = "\"version\": 2";
  auto with = [&](const std::string& other) {
    std::string changed = text;
    return refusal(changed.replace(changed.find(version), version.size(), "\"version\": " + other));
  };
  CHECK(with("1") ==
        "plan.json: version: expected 2, found 1: made by an earlier opt-partition; partition the model again");
  CHECK(with("3") == "plan.json: version: expected 2, found 3");
  CHECK(with("\"2\"") == "plan.json: version: expected 2, found no number");
}

TEST_CASE("members that do not agree are refused with what was expected") {
  const Plan good = plan_of("opt-tiny", true, "data=2,tensor=2");
  auto refused = [&](llvm::function_ref<void(Plan&)> change) {
    Plan plan = good;
    change(plan);
    return refusal(to_text(plan));
  };
  auto says = [](const std::string& text, llvm::StringRef what) {
    CAPTURE(text);
    CHECK(llvm::StringRef(text).contains(what));
  };
  says(refused([](Plan& p) { p.mesh.axes[0].size = 3; }), "layouts[0].shards: expected each rank in one entry");
  says(refused([](Plan& p) { p.mesh.axes[0].name = "tensor"; }), "mesh.axes: name: expected distinct ones");
  says(refused([](Plan& p) { p.devices.pop_back(); }), "devices: expected 4, found 3");
  says(refused([](Plan& p) { p.devices[3].coordinates["data"] = 0; }),
       "devices[3].coordinates.data: expected 1, found 0");
  says(refused([](Plan& p) { p.flow[0].after = {0}; }), "flow[0]: after: expected positions before it");
  says(refused(
           [](Plan& p) { llvm::find_if(p.flow, [](auto& e) { return e.is_collective(); })->collective = "another"; }),
       "collective: expected the id of a collective, found 'another'");
  says(refused([](Plan& p) { p.collectives[0].call.axes = {"pipe"}; }),
       "collectives[0]: axes: expected axes of the mesh");
  says(refused([](Plan& p) { p.collectives[0].groups = {{0, 1}, {1, 2}}; }), "groups: expected each rank at most once");
  says(refused([](Plan& p) { p.collectives[0].groups.clear(); }), "collectives[0]: groups: expected one at least");
  says(refused([](Plan& p) { p.collectives[1].call.id = p.collectives[0].call.id; }),
       "collectives[1]: name: expected one that no other has");
  says(refused([](Plan& p) { p.values.push_back(p.values[0]); }),
       "]: name: expected one that no other has, found '" + good.values[0].name + "' twice");
  says(refused([](Plan& p) { p.parameters[0].name.clear(); }),
       "parameters[0]: name: expected one that no other has, found an empty one");
  says(refused([](Plan& p) { p.values[0].sharding.reduce = Reduce::sum, p.values[0].sharding.partial = {"pipe"}; }),
       "): sharding: axes: expected axes of the mesh, found 'pipe'");
  says(refused([](Plan& p) { p.dims.clear(); }), "shape: expected names that stand in dims, found '");
  says(refused([](Plan& p) { p.dims.begin()->second.example = 0; }), ": example: expected at least min, 1, found 0");
  says(refused([](Plan& p) { p.updates[0].output = "nothing"; }), "updates[0]: output: expected the name of an output");
  says(refused([](Plan& p) { p.updates[0].output = "loss"; }),
       "updates[0]: output 'loss': expected i64[] [], as input 'step'");
  says(refused([](Plan& p) { p.state.push_back({p.updates[0].input, p.updates[0].output, 99, std::nullopt}); }),
       "state[0]: axis: expected a dim of ");
  says(refused([](Plan& p) { p.parameters[0].elements = 7; }), "elements: expected ");
  says(refused([](Plan& p) { p.parameters[0].dtype = DType::f16; }),
       "parameters[0].layout: expected a layout of the tensor's dtype, shape and sharding");
  says(refused([](Plan& p) { p.training->accumulate = 0; }), "training: accumulate: expected at least 1, found 0");
}

TEST_CASE(
    "ranks may hold several intervals of a dim, and ranges of ranks may overlap; an index on no rank is refused") {
  Plan plan = plan_of("opt-tiny", false);
  Plan::Parameter& p = plan.parameters[0];
  const int64_t rows = *p.dims[0].constant(), columns = *p.dims[1].constant();
  REQUIRE(rows > 40);
  auto held = [&](std::vector<SymbolicShardDim> of_ranks) {
    auto layout = std::make_shared<Plan::Layout>();
    layout->dtype = p.dtype, layout->dims = p.dims, layout->sharding = p.sharding;
    for (size_t r = 0; r < of_ranks.size(); ++r)
      layout->shards.push_back(rank_shard({p.dims, {of_ranks[r], {{0, columns, {}}}}}, p.dtype, {int64_t(r)}));
    p.layout = std::move(layout);
    return refusal(to_text(plan));
  };
  CHECK(held({{{0, 10, {}}, {20, rows, {}}}, {{5, 25, {}}}}) == "");
  CHECK(held({{{0, 10, {}}, {20, rows, {}}}, {{5, 19, {}}}})
            .find("expected each index on a rank, found dim 0 index 19") != std::string::npos);
  CHECK(held({{{0, rows + 1, {}}}, {{0, rows, {}}}}).find("shards[0]: ranges: ") != std::string::npos);
  CHECK(held({{{10, 20, {}}, {0, 10, {}}}, {{0, rows, {}}}}).find("shards[0]: ranges: ") != std::string::npos);
}

TEST_CASE("the ranges of a dim of two factors, each cut along an axis of its own, are those that each rank holds") {
  const Mesh mesh = must(parse_mesh("data=2,tensor=2"));
  const Dim batch = Dim::symbol("batch");
  Sharding s = replicated(1);
  s.dims[0].factors() = {{batch, {"data"}}, {12, {"tensor"}}};
  Layouts layouts(mesh);
  const auto layout = layouts.of(DType::f32, {batch * Dim(12)}, s);
  REQUIRE(layout->shards.size() == 4);
  std::set<int64_t> all;
  for (size_t r = 0; r < 4; ++r) {
    // The rank's half of 5 rows, and of these its 6 heads.
    const int64_t first = r < 2 ? 0 : 3, last = r < 2 ? 3 : 5, head = r % 2 * 6;
    const Shard shard = must((*layout)[r].shard.bind({{"batch", 5}}));
    std::vector<int64_t> found, expected;
    for (const Interval& i : shard.dims[0])
      for (int64_t k = i.start; k < i.stop; ++k) found.push_back(k);
    for (int64_t row = first; row < last; ++row)
      for (int64_t k = head; k < head + 6; ++k) expected.push_back(row * 12 + k);
    CHECK(found == expected);
    all.insert(found.begin(), found.end());
  }
  CHECK(all.size() == 60);
}

TEST_CASE("a dim of several products is read from a plan as it was written, with the ranges that each rank holds") {
  Plan plan = plan_of("opt-tiny", false);
  Plan::Parameter& p = plan.parameters[0];
  const int64_t rows = *p.dims[0].constant(), columns = *p.dims[1].constant();
  DimSharding dim;
  dim.parts = {{{{rows - 24, {"tensor"}}}}, {{{3, {}}, {4, {"tensor"}}}}, {{{12, {}}}}};
  p.sharding = replicated(2);
  p.sharding.dims[0] = dim;
  Layouts layouts(plan.mesh);
  p.layout = layouts.of(p.dtype, p.dims, p.sharding);
  const Plan again = must(parse_plan("plan.json", to_text(plan)));
  CHECK(to_text(again) == to_text(plan));
  CHECK(again.parameters[0].sharding.dims[0].parts == dim.parts);
  const SymbolicShardDim first{{0, chunk_size(rows - 24, 2, 0), {}},
                               {rows - 24, rows - 22, {}},
                               {rows - 20, rows - 18, {}},
                               {rows - 16, rows - 14, {}},
                               {rows - 12, rows, {}}};
  CHECK((*again.parameters[0].layout)[0].shard.dims[0] == first);
  CHECK((*again.parameters[0].layout)[1].shard.dims[1] == SymbolicShardDim{{0, columns, {}}});
}

TEST_CASE("what a device sends is what the members of a direct exchange send, counted one by one") {
  auto call = [](Collective kind, Dims dims, int64_t cut, int64_t join) {
    CollectiveCall out;
    out.kind = kind, out.dims = std::move(dims), out.cut_axis = cut, out.join_axis = join;
    return out;
  };
  auto largest = [](int64_t members, llvm::function_ref<int64_t(int64_t)> sent) {
    int64_t most = 0;
    for (int64_t i = 0; i < members; ++i) most = std::max(most, sent(i));
    return most;
  };
  for (int64_t n : {1, 2, 3, 5, 8})
    for (int64_t rows : {1, 4, 7, 12})
      for (int64_t columns : {1, 5, 6}) {
        CAPTURE(n);
        CAPTURE(rows);
        CAPTURE(columns);
        const int64_t all = rows * columns;
        auto sent = [&](Collective kind, int64_t cut, int64_t join) {
          return sent_elements(call(kind, {rows, columns}, cut, join), n);
        };
        CHECK(sent(Collective::all_reduce, -1, -1).is(largest(n, [&](int64_t i) {
          return all + (n - 2) * chunk_size(all, n, i);
        })));
        CHECK(sent(Collective::all_gather, -1, 0).is(largest(n, [&](int64_t i) {
          return (n - 1) * chunk_size(rows, n, i) * columns;
        })));
        CHECK(sent(Collective::reduce_scatter, 0, -1).is(largest(n, [&](int64_t i) {
          return (rows - chunk_size(rows, n, i)) * columns;
        })));
        CHECK(sent(Collective::all_to_all, 0, 1).is(largest(n * n, [&](int64_t i) {
          // A member may have the largest chunk along one axis, and need not have it along the other: an upper bound.
          return (rows - chunk_size(rows, n, i % n)) * chunk_size(columns, n, i / n);
        })));
      }
  const Dim tokens = Dim::symbol("tokens");
  CHECK(sent_elements(call(Collective::all_reduce, {tokens, 768}, -1, -1), 4) == tokens * Dim(1152));  // 2·3/4 of it
  CHECK(sent_elements(call(Collective::all_gather, {tokens, 768}, -1, 1), 4) == tokens * Dim(576));
}
