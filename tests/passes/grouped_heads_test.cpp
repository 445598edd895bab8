// Attention whose heads of queries share fewer heads of keys and values than there are devices: what each device holds
// and sends, and that the step of all devices together is that of one.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "passes/partials.h"
#include "passes/pipeline.h"
#include "passes/training.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tests/passes/rank_graph.h"

using namespace optp;

namespace {
struct Heads {
  int64_t keys, queries, devices;
};
constexpr Heads cases[] = {{8, 32, 16}, {2, 8, 5}, {1, 4, 3}, {3, 12, 5}, {2, 4, 7}};
constexpr int64_t layers = 2, hidden = 6, width = 2, batch = 2, sequence = 3;

std::mt19937 random_numbers(404);
Array random_array(llvm::ArrayRef<int64_t> dims) {
  Array out;
  out.resize(true, llvm::SmallVector<int64_t, 4>(dims.begin(), dims.end()));
  for (double& v : out.f) v = std::uniform_real_distribution<double>(-1, 1)(random_numbers);
  return out;
}
// Layers of attention with residuals, each behind a norm, which keeps hidden whole.
class Model {
 public:
  explicit Model(const Heads& heads) : heads_(heads), build_(graph) {
    build_.set_fold(false);
    Value* x = &graph.add_input("x", {DType::f64, {batch, sequence, hidden}});
    for (int64_t k = 0; k < layers; ++k) x = made("add", {x, attention(*x, "layers." + std::to_string(k))});
    x = made("layer_norm", {x, &weight("norm", {hidden})}, {{"epsilon", 1e-5}});
    graph.outputs.push_back({"y", x});
    graph.mesh.axes = {{"tensor", heads.devices}};
  }
  Graph graph;

 private:
  Value* made(llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes = {}) {
    return must(build_.create(op, operands, std::move(attributes)));
  }
  Value& weight(const std::string& name, llvm::ArrayRef<int64_t> dims) {
    Value& v = graph.add_data(name, to_tensor(random_array(dims), DType::f64));
    v.is_parameter = true;
    return v;
  }
  Value* product(Value* a, Value* b, const char* loops) {
    return made("contract", {a, b}, {{"loops", contract_loops(loops)}});
  }
  Value* heads_of(Value* x, const std::string& name, int64_t heads) {
    Value* y = product(x, &weight(name, {hidden, heads * width}), "b s k, k n -> b s n");
    return made("reshape", {y}, {{"dims", Dims{batch, sequence, heads, width}}});
  }
  Value* repeated(Value* x) {
    const int64_t times = heads_.queries / heads_.keys;
    Value* v = made("reshape", {x}, {{"dims", Dims{batch, sequence, heads_.keys, 1, width}}});
    v = made("expand", {v}, {{"dims", Dims{batch, sequence, heads_.keys, times, width}}});
    return made("reshape", {v}, {{"dims", Dims{batch, sequence, heads_.queries, width}}});
  }
  Value* attention(Value& x, const std::string& name) {
    Value* n = made("layer_norm", {&x, &weight(name + ".norm", {hidden})}, {{"epsilon", 1e-5}});
    Value* q = heads_of(n, name + ".q", heads_.queries);
    Value* k = made("mul", {heads_of(n, name + ".k", heads_.keys), &weight(name + ".k.norm", {width})});
    Value* v = heads_of(n, name + ".v", heads_.keys);
    Value* scores = product(q, repeated(k), "b s h d, b t h d -> b h s t");
    Value* sum = product(made("softmax", {scores}, {{"axis", int64_t(3)}}), repeated(v), "b h s t, b t h d -> b s h d");
    sum = made("reshape", {sum}, {{"dims", Dims{batch, sequence, heads_.queries * width}}});
    return product(sum, &weight(name + ".o", {heads_.queries * width, hidden}), "b s k, k n -> b s n");
  }

  Heads heads_;
  Builder build_;
};

int64_t all_reduces(const Graph& spmd, Phase phase) {
  return llvm::count_if(
      spmd.nodes, [&](const auto& n) { return n->op->collective == Collective::all_reduce && n->phase == phase; });
}
std::unique_ptr<Graph> spmd_of(const Graph& whole) {
  auto spmd = must(split(whole, {}));
  must(combine_all_reduces(*spmd, {}));
  return spmd;
}
std::vector<NamedArrays> run(const Graph& spmd, const NamedArrays& inputs) {
  std::vector<std::unique_ptr<Graph>> ranks;
  std::vector<const Graph*> graphs;
  for (int64_t r = 0; r < spmd.mesh.devices(); ++r) {
    ranks.push_back(rank_graph(spmd, r));
    graphs.push_back(ranks.back().get());
  }
  return must(run_reference(graphs, std::vector<NamedArrays>(graphs.size(), inputs)));
}
double apart(const Array& a, const Array& b) {
  if (a.dims != b.dims) return INFINITY;
  double most = 0;
  for (size_t k = 0; k < a.f.size(); ++k) most = std::max(most, std::abs(a.f[k] - b.f[k]) / (1 + std::abs(b.f[k])));
  return most;
}
// The largest difference of what any rank has of any output from what one device computes.
double differs(const Graph& spmd, const NamedArrays& inputs, const NamedArrays& whole) {
  double most = 0;
  const auto results = run(spmd, inputs);
  for (const GraphOutput& o : spmd.outputs)
    for (size_t r = 0; r < results.size(); ++r) {
      const Array& expected = whole.find(o.name)->second;
      const Shard shard = Shard::of(expected.dims, *o.value->sharding, spmd.mesh, int64_t(r));
      most = std::max(most, apart(results[r].find(o.name)->second, take(shard, expected)));
    }
  return most;
}
// Another order of additions moves less.
constexpr double bound = 1e-10;

// The graph with the gradients of all parameters as outputs.
void add_gradients(Graph& graph) {
  Value& dy = graph.add_input("dy", {DType::f64, graph.outputs[0].value->type.dims});
  for (auto [parameter, gradient] : must(differentiate(graph, *graph.outputs[0].value, dy))) {
    graph.gradients.push_back({parameter->name, parameter->name + ".grad"});
    graph.outputs.push_back({parameter->name + ".grad", gradient});
  }
}
}  // namespace

TEST_CASE("heads of queries are balanced to one on any number of devices, with one all-reduce for each attention") {
  for (const Heads& c : cases) {
    CAPTURE(c.keys);
    CAPTURE(c.devices);
    Model model(c);
    const NamedArrays inputs{{"x", random_array({batch, sequence, hidden})}};
    const auto whole = must(run_reference({&model.graph}, {inputs}))[0];
    must(run_stages(model.graph, "annotate", "join-partials"));
    for (const char* name : {"layers.0.q", "layers.1.q"}) {
      const Value& q = *model.graph.find(name);
      for (int64_t r = 0; r < c.devices; ++r) {
        const int64_t heads = Shard::of(q.data->dims, *q.sharding, model.graph.mesh, r).shape()[1] / width;
        CHECK(heads >= c.queries / c.devices);
        CHECK(heads <= (c.queries + c.devices - 1) / c.devices);
      }
    }
    // A device has no more heads of keys than of queries.
    const Value& k = *model.graph.find("layers.0.k");
    for (int64_t r = 0; r < c.devices && c.keys > 1; ++r) {
      const int64_t queries = chunk_size(c.queries, c.devices, r), first = chunk_start(c.queries, c.devices, r);
      const int64_t times = c.queries / c.keys, held = queries ? (first + queries - 1) / times - first / times + 1 : 0;
      CHECK(Shard::of(k.data->dims, *k.sharding, model.graph.mesh, r).shape()[1] == held * width);
    }
    const auto spmd = spmd_of(model.graph);
    CHECK(all_reduces(*spmd, Phase::forward) == layers);
    CHECK(differs(*spmd, inputs, whole) <= bound);
  }
}

TEST_CASE(
    "the gradients of copies are summed: every device has those of one, and one that adds its own alone has not") {
  for (const Heads& c : cases) {
    CAPTURE(c.keys);
    CAPTURE(c.devices);
    Model model(c);
    const NamedArrays inputs{{"x", random_array({batch, sequence, hidden})},
                             {"dy", random_array({batch, sequence, hidden})}};
    must(run_stages(model.graph, "annotate", "join-partials"));
    add_gradients(model.graph);
    const auto whole = must(run_reference({&model.graph}, {inputs}))[0];
    must(annotate_training(model.graph, {}));
    must(lower_sums(model.graph));
    const auto spmd = spmd_of(model.graph);
    CHECK(all_reduces(*spmd, Phase::forward) == layers);
    // One for each layer's input but the first, which has no gradient, and one for all copies together.
    CAPTURE(to_string(*spmd));
    CHECK(all_reduces(*spmd, Phase::backward) <= layers + 1);
    CHECK(differs(*spmd, inputs, whole) <= bound);

    // Mutant: each all-reduce of the way back is left out in turn.
    const auto nodes = all_reduces(*spmd, Phase::backward);
    for (int64_t left_out = 0; left_out < nodes; ++left_out) {
      const auto mutant = spmd->clone();
      int64_t at = 0;
      for (auto it = mutant->nodes.begin(); it != mutant->nodes.end();) {
        Node& node = **it++;
        if (node.op->collective != Collective::all_reduce || node.phase != Phase::backward || at++ != left_out)
          continue;
        mutant->replace_all_uses(node.out(), node.operand(0));
        mutant->erase(node);
      }
      CHECK(differs(*mutant, inputs, whole) > 1e-3);
    }
  }
}
