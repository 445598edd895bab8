// What a written model promises besides its meaning: names, where weights lie, how dims get their values, collectives.
#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>

#include <cstring>

#include "frontend/io/manifest.h"
#include "frontend/ir/builder.h"
#include "frontend/onnx/export.h"
#include "frontend/onnx/import.h"
#include "passes/pipeline.h"
#include "tests/frontend/io/scratch_folder.h"

namespace optp {
namespace {
using Ints = llvm::SmallVector<int64_t, 4>;
using AxisList = std::vector<std::string>;
constexpr DType f32 = DType::f32, i64 = DType::i64;
const Dim batch = Dim::symbol("batch"), sequence = Dim::symbol("sequence");

struct Sketch {
  Graph graph;
  Builder build{graph};
  Sketch() { build.set_fold(false); }
  Value& input(const char* name, Dims dims, DType dtype = f32) { return graph.add_input(name, {dtype, dims}); }
  Value& data(const char* name, Ints dims) {
    Array a;
    a.resize(true, dims);
    for (size_t k = 0; k < a.f.size(); ++k) a.f[k] = double(k);
    return graph.add_data(name, to_tensor(a, f32));
  }
  Value& op(const char* name, llvm::ArrayRef<Value*> operands, Attributes attributes = {}, const char* result = "") {
    return *get(build.create(name, operands, std::move(attributes), result));
  }
  void output(const char* name, Value& v) { graph.outputs.push_back({name, &v}); }
  onnx::ModelProto proto(const ExportOptions& options = {}) const {
    onnx::ModelProto model;
    REQUIRE(model.ParseFromString(get(model_bytes(graph, options))));
    return model;
  }
};
// "y = Op(a, b)" of each node whose name does not begin with `skip`.
std::vector<std::string> nodes(const onnx::ModelProto& model, const std::string& skip = "-") {
  std::vector<std::string> out;
  for (const auto& n : model.graph().node()) {
    if (n.name().starts_with(skip)) continue;
    std::string text = n.output(0) + " = " + n.op_type() + "(";
    for (int k = 0; k < n.input_size(); ++k) text += (k ? ", " : "") + n.input(k);
    out.push_back(text + ")");
  }
  return out;
}
using Lines = std::vector<std::string>;
std::string attribute(const onnx::NodeProto& n, const std::string& name) {
  for (const auto& a : n.attribute()) {
    if (a.name() != name) continue;
    if (a.type() == onnx::AttributeProto::INT) return std::to_string(a.i());
    if (a.type() == onnx::AttributeProto::STRING) return a.s();
    std::string text;
    for (int64_t v : a.ints()) text += std::to_string(v) + " ";
    return text;
  }
  return "none";
}
std::map<std::string, std::string> external(const onnx::TensorProto& t) {
  std::map<std::string, std::string> out;
  for (const auto& e : t.external_data()) out[e.key()] = e.value();
  return out;
}
// x gathered to the whole batch, which is the sum of the ranks' parts.
Value& batch_gathered(Sketch& s, Value& x, const llvm::SmallVector<int, 4>& group) {
  Value& part = s.build.dim_tensor({1}, {x.type.dims[0]}, i64, "dims/batch/part");
  const CollectiveCall sum{
      .kind = Collective::all_reduce, .id = "dims/batch", .reduce = Reduce::sum, .group = group, .extent = batch};
  s.op("all_reduce", {&part}, attributes_of(sum), "dims/batch");
  const CollectiveCall gather{
      .kind = Collective::all_gather, .id = "g", .group = group, .join_axis = 0, .dims = {batch, 3}};
  return s.op("all_gather", {&x}, attributes_of(gather), "whole");
}
// x[batch, 8] · w[8, 512 of 1024], cut over two ranks, and a bias that all hold.
void cut_layer(Sketch& s, int64_t rank) {
  Value &x = s.input("x", {batch, 8}), &w = s.data("w", {8, 1024}), &b = s.data("b", {4});
  w.sharding = Sharding{{DimSharding{}, DimSharding{{{Dim(1024), {"tensor"}}}}}};
  w.shard = Shard{{8, 1024}, {{{0, 8}}, {{512 * rank, 512 * (rank + 1)}}}};
  w.type.dims = {8, 512};
  s.output("y", s.op("contract", {&x, &w}, {{"loops", contract_loops("b k, k n -> b n")}}, "y"));
  s.output("b.out", s.op("neg", {&b}, {}, "b.out"));
}
}  // namespace

TEST_CASE("a model states IR 8, opset 17, and our domain only where it is used") {
  Sketch s;
  s.graph.rank = 1;
  s.output("y", s.op("relu", {&s.input("x", {batch})}, {}, "y"));
  const auto model = s.proto({.metadata = {{"mesh", "tensor=2"}}});
  CHECK(model.ir_version() == 8);
  REQUIRE(model.opset_import_size() == 1);
  CHECK(model.opset_import(0).domain() == "");
  CHECK(model.opset_import(0).version() == 17);
  REQUIRE(model.metadata_props_size() == 2);
  CHECK(model.metadata_props(0).key() == "opt_partition.mesh");
  CHECK(model.metadata_props(1).value() == "1");
}

TEST_CASE("the user's names stay, outputs have theirs, and new names are free ones") {
  Sketch s;
  Value& x = s.input("x", {batch, 3});
  s.build.at("layer", "");
  Value& inner = s.op("softmax", {&x}, {{"axis", int64_t(1)}}, "logits");  // bears the name of an output that it is not
  Value& y = s.op("reduce_mean", {&inner}, {{"axes", Ints{1}}, {"keepdims", int64_t(0)}, {"count", Dim(6)}}, "y");
  Value& taken = s.op("neg", {&y}, {}, "y/ReduceSum");
  s.output("logits", y);
  s.output("again", y);
  s.output("y/ReduceSum", taken);
  s.output("x", x);
  CHECK(nodes(s.proto()) == Lines{"logits.1 = Softmax(x)", "y/ReduceSum.1 = ReduceSum(logits.1, const/0)",
                                  "y = Div(y/ReduceSum.1, const/1)", "y/ReduceSum = Neg(y)", "logits = Identity(y)",
                                  "again = Identity(y)"});
  // One ONNX node became several; their names differ.
  const auto model = s.proto();
  CHECK(model.graph().node(0).name() == "layer");
  CHECK(model.graph().node(2).name() == "layer.1");
}

TEST_CASE("a product is MatMul and as few views as it needs, else Einsum") {
  const struct {
    const char* loops;
    Lines nodes;
  } rows[] = {
      {"b s k, k n -> b s n", {"y = MatMul(a, b)"}},
      {"b h s k, 1 1 k n -> b h s n", {"y = MatMul(a, b)"}},
      {"1 s k, k n -> 1 s n", {"y = MatMul(a, b)"}},
      {"b s k, n k -> b s n", {"y/Transpose = Transpose(b)", "y = MatMul(a, y/Transpose)"}},
      {"k n, b s k -> b s n", {"y = MatMul(b, a)"}},
      {"b h s t, b h t d -> b s h d", {"y/MatMul = MatMul(a, b)", "y = Transpose(y/MatMul)"}},
      {"b k, b k n -> b n",
       {"y/Unsqueeze = Unsqueeze(a, const/0)", "y/MatMul = MatMul(y/Unsqueeze, b)", "y = Squeeze(y/MatMul, const/0)"}},
      {"m 1, n -> m n", {"y = Mul(a, b)"}},
      {"b s h d, h d e -> b s e", {"y = Einsum(a, b)"}},
  };
  for (const auto& row : rows) {
    CAPTURE(row.loops);
    const std::string loops = row.loops;
    Sketch s;
    // All extents are 2, but those that no loop runs over.
    auto dims = [](llvm::StringRef list) {
      llvm::SmallVector<llvm::StringRef, 4> names;
      list.split(names, ' ', -1, false);
      Dims out;
      for (llvm::StringRef n : names) out.push_back(n == "1" ? 1 : 2);
      return out;
    };
    const auto [a, b] = llvm::StringRef(loops).split("->").first.split(',');
    s.output("y", s.op("contract", {&s.input("a", dims(a)), &s.input("b", dims(b))}, {{"loops", contract_loops(loops)}},
                       "y"));
    CHECK(nodes(s.proto()) == row.nodes);
  }
}

TEST_CASE("a dim is computed once, from the input that has it alone") {
  Sketch s;
  Value &x = s.input("x", {batch, sequence}), &mask = s.input("mask", {batch, Dim::symbol("past") + sequence});
  const Dim past = Dim::symbol("past");
  Value& a = s.op("reshape", {&x}, {{"dims", Dims{batch * sequence}}});
  Value& b = s.op("reshape", {&x}, {{"dims", Dims{batch * sequence}}});
  Value& c = s.op("slice", {&mask}, {{"axis", int64_t(1)}, {"start", past}, {"size", sequence}, {"step", int64_t(1)}});
  s.output("a", a), s.output("b", b), s.output("c", c);
  CHECK(nodes(s.proto()) == Lines{"dims/0 = Shape(x)", "dims/1 = Shape(x)", "dims/2 = Mul(dims/0, dims/1)",
                                  "dims/3 = Shape(mask)", "dims/4 = Sub(dims/3, dims/1)",
                                  "reshape = Reshape(x, dims/2)", "reshape.1 = Reshape(x, dims/2)",
                                  "slice = Slice(mask, dims/4, dims/3, const/0, const/0)", "a = Identity(reshape)",
                                  "b = Identity(reshape.1)", "c = Identity(slice)"});
}

TEST_CASE("a dim that no input's shape gives is an error naming it and the node") {
  Sketch s;
  s.build.at("grow", "Expand");
  s.output("y", s.op("expand", {&s.input("x", {1})}, {{"dims", Dims{Dim::symbol("length")}}}, "y"));
  const Failure f = failure(model_bytes(s.graph));
  CHECK(f.fault == Fault::bad_input);
  CHECK(f.message ==
        "node 'grow' (Expand): dim 'length': its value can't be had from the shapes of this rank's inputs, and a shape "
        "in the graph needs it; give it a number");
}

TEST_CASE("a graph that is not bound to a rank is our mistake") {
  Sketch s;
  s.output("y", s.op("expand", {&s.input("x", {1})}, {{"dims", Dims{Dim::part(50257, {"tensor"})}}}, "y"));
  CHECK(failure(model_bytes(s.graph)).fault == Fault::internal);
}

TEST_CASE("a sum of the batch's parts is written before what is computed from it") {
  Sketch s;
  s.graph.rank = 0;
  Value& x = s.input("x", {floor_div(batch + 1, 2), 3});
  s.output("whole", batch_gathered(s, x, {0, 1}));
  const auto model = s.proto();
  CHECK(nodes(model) ==
        Lines{"dims/0 = Shape(x)", "dims/batch = AllReduce(dims/0)", "whole = AllGather(x, dims/batch)"});
  CHECK(model.graph().node(1).domain() == "opt_partition");
  CHECK(attribute(model.graph().node(1), "id") == "dims/batch");
  CHECK(attribute(model.graph().node(1), "group") == "0 1 ");
  CHECK(attribute(model.graph().node(1), "reduce") == "sum");
  CHECK(attribute(model.graph().node(1), "extent") == "batch");
}

TEST_CASE("collectives carry what docs/collectives.md asks for") {
  Sketch s;
  Value &x = s.input("x", {batch, 3}), &part = s.input("part", {2, 4});
  const Attributes common = {{"axes", AxisList{"tensor"}}, {"group", Ints{1, 3}}, {"reason", std::string("why")}};
  auto with = [&](Attributes more) {
    more.insert(common.begin(), common.end());
    return more;
  };
  s.output("sum", s.op("all_reduce", {&x}, with({{"id", std::string("s")}, {"reduce", std::string("max")}}), "sum"));
  s.output("whole", s.op("all_gather", {&part},
                         with({{"id", std::string("g")}, {"axis", int64_t(0)}, {"total", Dim(5)}}), "whole"));
  s.output("cut", s.op("reduce_scatter", {&x},
                       with({{"id", std::string("c")},
                             {"reduce", std::string("sum")},
                             {"axis", int64_t(0)},
                             {"total", batch},
                             {"local", floor_div(batch, 2)}}),
                       "cut"));
  s.output("turned", s.op("all_to_all", {&part},
                          with({{"id", std::string("t")},
                                {"split_axis", int64_t(1)},
                                {"concat_axis", int64_t(0)},
                                {"total", Dim(5)},
                                {"local", Dim(2)}}),
                          "turned"));
  const auto model = s.proto();
  CHECK(nodes(model, "dims/") == Lines{"sum = AllReduce(x)", "whole = AllGather(part)",
                                       "cut = ReduceScatter(x, dims/0)", "turned = AllToAll(part)"});
  REQUIRE(model.opset_import_size() == 2);
  CHECK(model.opset_import(1).domain() == "opt_partition");
  CHECK(model.opset_import(1).version() == 2);
  const auto &sum = model.graph().node(1), &whole = model.graph().node(2), &cut = model.graph().node(3),
             &turned = model.graph().node(4);
  for (const auto* n : {&sum, &whole, &cut, &turned}) {
    CHECK(n->domain() == "opt_partition");
    CHECK(attribute(*n, "group") == "1 3 ");
  }
  CHECK(attribute(sum, "id") == "s");
  CHECK(attribute(sum, "reduce") == "max");
  CHECK(attribute(sum, "axes") == "none");  // not part of the contract
  CHECK(attribute(whole, "axis") == "0");
  CHECK(attribute(whole, "total") == "5");
  CHECK(attribute(whole, "reduce") == "none");
  CHECK(attribute(cut, "reduce") == "sum");
  CHECK(attribute(cut, "total") == "none");  // it is input 1
  CHECK(attribute(turned, "split_axis") == "1");
  CHECK(attribute(turned, "concat_axis") == "0");
  CHECK(attribute(turned, "total") == "5");
  CHECK(attribute(sum, "extent") == "none");
}

TEST_CASE("a graph read back has its rank, its collectives, and the batch for the sum of its parts") {
  const ScratchFolder scratch;
  for (int64_t rank : {1, 3}) {
    Sketch s;
    s.graph.rank = rank;
    const Dim local = floor_div(rank == 1 ? batch + 1 : batch, 2);
    Value& whole = batch_gathered(s, s.input("x", {local, 3}), {1, 3});
    const CollectiveCall scatter{.kind = Collective::reduce_scatter,
                                 .id = "c",
                                 .reduce = Reduce::max,
                                 .group = {1, 3},
                                 .cut_axis = 0,
                                 .local = local,
                                 .dtype = f32,
                                 .dims = {batch, 3}};
    const CollectiveCall turn{.kind = Collective::all_to_all,
                              .id = "t",
                              .group = {1, 3},
                              .cut_axis = 1,
                              .join_axis = 0,
                              .local = rank == 1 ? 2 : 1,
                              .dtype = f32,
                              .dims = {batch, 3}};
    Value& cut = s.op("reduce_scatter", {&whole}, attributes_of(scatter), "cut");
    s.output("turned", s.op("all_to_all", {&cut}, attributes_of(turn), "turned"));
    const auto read = get(import_onnx(scratch.put("model.onnx", get(model_bytes(s.graph)))));
    CHECK(read->rank == rank);
    std::vector<CollectiveCall> calls;
    for (const auto& node : read->nodes)
      if (node->op->collective) calls.push_back(call_of(*node));
    REQUIRE(calls.size() == 4);
    CHECK(calls[0].id == "dims/batch");
    CHECK(calls[0].extent == batch);
    CHECK(calls[1].id == "g");
    CHECK(calls[1].dims == Dims{batch, 3});
    for (auto [found, written] : {std::pair{&calls[2], &scatter}, {&calls[3], &turn}}) {
      CHECK(found->kind == written->kind);
      CHECK(found->id == written->id);
      CHECK(found->reduce == written->reduce);
      CHECK(found->group == written->group);
      CHECK(found->cut_axis == written->cut_axis);
      CHECK(found->join_axis == written->join_axis);
      CHECK(found->local == written->local);
      CHECK(found->dims == written->dims);
    }
    CHECK(read->find("cut")->type == Type{f32, {local, 3}});
    CHECK(read->find("turned")->type == Type{f32, {batch, rank == 1 ? 2 : 1}});
  }
}

TEST_CASE("what is no collective is refused where it is read, with what is wrong") {
  const ScratchFolder scratch;
  Sketch s;
  s.graph.rank = 0;
  const CollectiveCall turn{.kind = Collective::all_to_all,
                            .id = "t",
                            .group = {0, 1},
                            .cut_axis = 1,
                            .join_axis = 0,
                            .local = 2,
                            .dims = {5, 4}};
  s.output("y", s.op("all_to_all", {&s.input("x", {3, 4})}, attributes_of(turn), "y"));
  const auto good_model = s.proto();
  auto refused = [&](const std::function<void(onnx::NodeProto&)>& change) {
    onnx::ModelProto model = good_model;
    change(*model.mutable_graph()->mutable_node(0));
    return failure(import_onnx(scratch.put("model.onnx", model.SerializeAsString()))).message;
  };
  auto set = [](const char* name, int64_t n) {
    return [=](onnx::NodeProto& node) {
      for (auto& a : *node.mutable_attribute())
        if (a.name() == name) a.set_i(n);
    };
  };
  auto drop = [](const char* name) {
    return [=](onnx::NodeProto& node) {
      for (int k = node.attribute_size(); k-- > 0;)
        if (node.attribute(k).name() == name) node.mutable_attribute()->DeleteSubrange(k, 1);
    };
  };
  for (const auto& [message, why] : {std::pair{refused(drop("split_axis")), "split_axis is missing"},
                                     {refused(drop("group")), "group: expected ranks"},
                                     {refused(set("concat_axis", 1)), "concat_axis: expected another than split_axis"},
                                     {refused(set("split_axis", 2)), "axis"},
                                     {refused(drop("total")), "operand 1 is missing"}}) {
    CAPTURE(message);
    CHECK(message.find(why) != std::string::npos);
  }
}

TEST_CASE("a rank's weights are what it holds, each on a page of its own, and small ones in the model") {
  const ScratchFolder scratch;
  auto out = get(OutputTransaction::begin(scratch / "out"));
  for (int64_t rank : {0, 1}) {
    Sketch s;
    Value& big = s.data("big", {300});
    cut_layer(s, rank);
    s.output("big.out", s.op("neg", {&big}, {}, "big.out"));
    good(write_rank_model(s.graph, out, "rank" + std::to_string(rank)));
  }
  good(out.commit());
  for (int64_t rank : {0, 1}) {
    const std::string folder = scratch / ("out/rank" + std::to_string(rank));
    onnx::ModelProto model;
    REQUIRE(model.ParseFromString(contents(folder + "/model.onnx")));
    const std::string bytes = contents(folder + "/model.onnx.data");
    REQUIRE(model.graph().initializer_size() == 3);
    const auto &big = model.graph().initializer(0), &w = model.graph().initializer(1),
               &b = model.graph().initializer(2);
    CHECK(external(big) ==
          std::map<std::string, std::string>{{"location", "model.onnx.data"}, {"offset", "0"}, {"length", "1200"}});
    CHECK(external(w) ==
          std::map<std::string, std::string>{{"location", "model.onnx.data"}, {"offset", "4096"}, {"length", "16384"}});
    CHECK(bytes.size() == 4096 + 16384);
    CHECK(w.doc_string() ==
          (rank == 0 ? "[_, tensor]: [0:8, 0:512] of [8, 1024]" : "[_, tensor]: [0:8, 512:1024] of [8, 1024]"));
    CHECK(b.raw_data().size() == 16);
    CHECK(b.doc_string() == "");
    for (int64_t row : {0, 1, 7})
      for (int64_t column : {0, 511}) {
        float value;
        std::memcpy(&value, bytes.data() + 4096 + 4 * (512 * row + column), 4);
        CHECK(value == float(1024 * row + 512 * rank + column));
      }
    const auto graph = get(import_onnx(folder + "/model.onnx"));
    CHECK(graph->find("w")->type == Type{f32, {8, 512}});
  }
}

TEST_CASE("the same graph gives the same bytes") {
  Sketch a, b;
  cut_layer(a, 1), cut_layer(b, 1);
  CHECK(get(model_bytes(a.graph)) == get(model_bytes(b.graph)));
}

TEST_CASE("weights that are missing are named with their file, and nothing is written") {
  for (int64_t n : {4, 4000}) {
    const ScratchFolder scratch;
    Sketch s;
    auto tensor = std::make_shared<Tensor>();
    tensor->dtype = f32;
    tensor->dims = {n};
    tensor->missing = "weights.bin";
    s.output("y", s.op("neg", {&s.graph.add_data("w", tensor)}, {}, "y"));
    auto out = get(OutputTransaction::begin(scratch / "out"));
    const Failure f = failure(write_rank_model(s.graph, out, "rank0"));
    CHECK(f.fault == Fault::not_found);
    CHECK(f.message == "initializer 'w': its file 'weights.bin' is not there");
  }
}

TEST_CASE("without weights a graph refers to a file that is not written, and the manifest says so") {
  const ScratchFolder scratch;
  Sketch s;
  auto tensor = std::make_shared<Tensor>();
  tensor->dtype = f32;
  tensor->dims = {4};
  tensor->missing = "weights.bin";
  s.output("y", s.op("neg", {&s.graph.add_data("w", tensor)}, {}, "y"));
  s.output("z", s.op("neg", {&s.data("table", {4000})}, {}, "z"));  // a constant that is at hand is kept
  auto out = get(OutputTransaction::begin(scratch / "out"));
  good(write_rank_model(s.graph, out, "rank0", {.weights = false}));
  good(out.commit());
  good(verify_manifest(scratch / "out", true));
  CHECK(contents(scratch / "out/manifest.json").find("\"absent\":[\n\"rank0/model.onnx.data\"\n]") !=
        std::string::npos);
  const auto read = get(import_onnx(scratch / "out/rank0/model.onnx"));
  CHECK(read->find("w")->data->missing == "model.onnx.data");
  CHECK(!read->find("table")->data->is_missing());
  scratch.put("out/rank0/model.onnx.data", "put there later");
  good(verify_manifest(scratch / "out", true));
}

TEST_CASE("a split of a real export is written for every rank, and each can be read") {
  const ScratchFolder scratch;
  for (const char* name : {"opt-tiny", "opt-tiny-past"}) {
    const auto graph = get(import_onnx(std::string(OPTP_TEST_DATA "/exports/") + name + "/model.onnx"));
    graph->mesh = get(parse_mesh("3"));
    good(run_stages(*graph, "absorb-transposes", "find-states"));
    good(run_stages(*graph, "annotate", "join-partials"));
    const auto spmd = get(split(*graph, {}));
    auto out = get(OutputTransaction::begin(scratch / name));
    for (int64_t r = 0; r < 3; ++r)
      good(write_rank_model(*get(materialise(*spmd, r)), out, "rank" + std::to_string(r)));
    good(out.commit());
    for (int64_t r = 0; r < 3; ++r) {
      const auto rank = get(materialise(*spmd, r));
      const auto read = get(import_onnx(scratch / (std::string(name) + "/rank" + std::to_string(r) + "/model.onnx")));
      REQUIRE(read->inputs.size() == rank->inputs.size());
      REQUIRE(read->outputs.size() == rank->outputs.size());
      for (size_t k = 0; k < rank->inputs.size(); ++k) CHECK(read->inputs[k]->type == rank->inputs[k]->type);
      for (size_t k = 0; k < rank->outputs.size(); ++k)
        CHECK(to_string(read->outputs[k].value->type) == to_string(rank->outputs[k].value->type));
    }
  }
}
}  // namespace optp
