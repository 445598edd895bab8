// A value moved from one sharding to another: the right collectives, and on every rank the shard that was wanted, in
// memory and from the ranks' files.
#include "passes/reshard.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

#include "frontend/ir/collective.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/export.h"
#include "frontend/onnx/import.h"
#include "passes/pipeline.h"
#include "runtime/comm/thread_communicator.h"
#include "runtime/reference.h"
#include "runtime/run_ranks.h"
#include "tests/frontend/io/scratch_folder.h"
#include "tests/must.h"
#include "tests/passes/rank_graph.h"

using namespace optp;

namespace {

// A dim as a product of factors, or as several products one after the other.
using FactorExtents = std::vector<std::vector<int64_t>>;
struct Move {
  Mesh mesh;
  std::vector<FactorExtents> parts;  // of each dim
  bool named = false;                // a dim's first product, if of one factor, has a name instead of a number
  Sharding from, to;

  static std::vector<FactorExtents> of_one_part(const FactorExtents& dims) {
    std::vector<FactorExtents> out;
    for (const auto& factors : dims) out.push_back({factors});
    return out;
  }
  static std::string name(size_t d) { return "n" + std::to_string(d); }
  Dim extent(size_t d, size_t p, size_t k) const {
    if (named && p == 0 && parts[d][p].size() == 1) return Dim::symbol(name(d), 0);
    return parts[d][p][k];
  }
  Dims dims() const {
    Dims out;
    const Sharding whole = unsplit();
    for (const DimSharding& d : whole.dims) {
      out.push_back(0);
      for (const ProductSharding& p : d.parts) out.back() = out.back() + p.extent();
    }
    return out;
  }
  DimValues values() const {
    DimValues out;
    for (size_t d = 0; named && d < parts.size(); ++d)
      if (parts[d][0].size() == 1) out[name(d)] = parts[d][0][0];
    return out;
  }
  Extents numbers() const {
    Extents out;
    for (Dim d : dims()) out.push_back(must(evaluate(d, values())));
    return out;
  }
  Sharding unsplit() const {
    Sharding s = replicated(parts.size());
    for (size_t d = 0; d < parts.size(); ++d)
      for (size_t p = 0; p < parts[d].size(); ++p) {
        ProductSharding& to = s.dims[d].parts.emplace_back();
        for (size_t k = 0; k < parts[d][p].size(); ++k) to.factors.push_back({extent(d, p, k), {}});
      }
    return s;
  }
  // The same with numbers for extents.
  Sharding with_numbers(Sharding s) const {
    for (DimSharding& d : s.dims)
      for (ProductSharding& p : d.parts)
        for (FactorSharding& f : p.factors) f.extent = must(evaluate(f.extent, values()));
    return s;
  }
  std::vector<Shard> shards(const Sharding& s) const { return Shard::of_all(numbers(), with_numbers(s), mesh); }

  std::unique_ptr<Graph> spmd() const {
    auto graph = std::make_unique<Graph>();
    graph->mesh = mesh;
    Builder build(*graph);
    build.set_fold(false);
    Value& x = graph->add_input("x", {DType::f32, local_dims(dims(), from)});
    x.sharding = from;
    x.logical_dims = dims();
    Value* y = must(reshard(build, x, dims(), from, to, "it is wanted so"));
    if (y == &x) y = must(build.create("reshape", {y}, {{"dims", x.type.dims}}));
    graph->outputs.push_back({"y", y});
    return graph;
  }
  std::string text() const {
    return to_string(mesh) + ": " + to_string(from) + " to " + to_string(to) + " of " + to_string(dims());
  }
};
std::string ops(const Graph& graph) {
  std::string out;
  for (const auto& node : graph.nodes) out += (out.empty() ? "" : " ") + node->op->name;
  return out;
}
// What each rank puts in: its shard, or an addend of it, those along the partial axes being the shard together. Small
// whole numbers, so that sums are exact.
std::vector<Array> parts(const Move& m, const Array& whole, std::mt19937& random) {
  std::vector<Array> out;
  const std::vector<Shard> shards = m.shards(m.from);
  for (int64_t r = 0; r < m.mesh.devices(); ++r) {
    out.push_back(take(shards[size_t(r)], whole));
    if (!m.from.is_partial()) continue;
    const std::vector<std::string> axes(m.from.partial.begin(), m.from.partial.end());
    const auto group = m.mesh.group(axes, r);
    if (r == group[0]) continue;
    for (double& x : out.back().f) {
      const auto share = double(int64_t(random() % 9) - 4);
      out[size_t(group[0])].f[size_t(&x - out.back().f.data())] -= share;
      x = share;
    }
  }
  return out;
}
using Ranks = std::vector<std::unique_ptr<Graph>>;
Ranks bound(const Move& m, const Ranks& ranks) {
  Ranks out;
  for (const auto& rank : ranks) out.push_back(must(bind_dims(*rank, m.values())));
  return out;
}
std::vector<const Graph*> pointers(const Ranks& ranks) {
  std::vector<const Graph*> out;
  for (const auto& rank : ranks) out.push_back(rank.get());
  return out;
}
Ranks through_files(const Ranks& ranks) {
  const ScratchFolder scratch;
  Ranks out;
  for (const auto& rank : ranks) {
    out.push_back(must(import_onnx(scratch.put("model.onnx", must(model_bytes(*rank))))));
    if (auto e = prepare_emitted(*out.back())) FAIL(llvm::toString(std::move(e)));
  }
  return out;
}
using Results = std::vector<NamedArrays>;
void check_results(const Move& m, const Results& found, const Array& whole) {
  const std::vector<Shard> shards = m.shards(m.to);
  for (size_t r = 0; r < found.size(); ++r) {
    CAPTURE(r);
    const Array expected = take(shards[r], whole), &y = found[r].find("y")->second;
    CHECK(y.dims == expected.dims);
    CHECK(y.f == expected.f);
  }
}
Results in_float64(const Ranks& ranks, const std::vector<Array>& in) {
  Results inputs;
  for (const Array& a : in) inputs.push_back({{"x", a}});
  return must(run_reference(pointers(ranks), inputs));
}
Results in_runtime(const Ranks& ranks, const std::vector<Array>& in) {
  ThreadWorld world(in.size());
  PerRank<HostArrays> host(world.held()), found;
  PerRank<HostInputs> inputs(world.held());
  for (size_t r = 0; r < in.size(); ++r) {
    host[r] = {{"x", host_array(in[r], DType::f32)}};
    inputs[r] = inputs_of(host[r]);
  }
  auto threads = must(RankThreads::create(world, PerRank<const Graph*>::of_all(pointers(ranks))));
  if (auto e = threads->run(inputs, found)) FAIL(llvm::toString(std::move(e)));
  Results out;
  for (size_t r = 0; r < in.size(); ++r) out.push_back({{"y", to_array(found[r]["y"])}});
  return out;
}
std::string moved(const char* mesh, FactorExtents factors, const std::function<void(Sharding&)>& from,
                  const std::function<void(Sharding&)>& to) {
  Move m{must(parse_mesh(mesh)), Move::of_one_part(factors)};
  m.from = m.to = m.unsplit();
  from(m.from);
  to(m.to);
  return ops(*m.spmd());
}
auto split(size_t d, size_t k, AxisUses axes) {
  return [=](Sharding& s) { s.dims[d].factors()[k].axes = axes; };
}
auto partial(Axes axes) {
  return [=](Sharding& s) { s.partial = axes, s.reduce = Reduce::sum; };
}
void whole(Sharding&) {}
}  // namespace

TEST_CASE("a sum that is wanted in chunks along its own axis is scattered, not reduced and cut") {
  const FactorExtents two{{6}, {4}};
  CHECK(moved("2", two, partial({"tensor"}), split(0, 0, {"tensor"})) == "reduce_scatter");
  CHECK(moved("2", two, partial({"tensor"}), split(1, 0, {"tensor"})) == "reduce_scatter");
  CHECK(moved("2", {{3, 6}, {4}}, partial({"tensor"}), split(0, 1, {"tensor"})) == "reshape reduce_scatter reshape");
  // The other axis's sum is made of chunks.
  CHECK(moved("data=2,tensor=2", two, partial({"data", "tensor"}), split(0, 0, {"tensor"})) ==
        "reduce_scatter all_reduce");
  // Or stays one, of chunks.
  const auto chunks_of_sum = [](Sharding& s) {
    split(0, 0, {"tensor"})(s);
    partial({"data"})(s);
  };
  CHECK(moved("data=2,tensor=2", two, partial({"data", "tensor"}), chunks_of_sum) == "reduce_scatter");
  CHECK(moved("data=2,tensor=2", two, partial({"data", "tensor"}), partial({"data"})) == "all_reduce");
  // Twins: wanted whole, along another axis, along two axes one in the other.
  CHECK(moved("2", two, partial({"tensor"}), whole) == "all_reduce");
  CHECK(moved("data=2,tensor=2", two, partial({"data"}), split(0, 0, {"tensor"})) == "all_reduce slice");
  CHECK(moved("data=2,tensor=2", two, partial({"tensor"}), split(0, 0, {"data", "tensor"})) == "all_reduce slice");
}

TEST_CASE("a split that moves to another dim along its own axis is exchanged, not gathered and cut") {
  const FactorExtents two{{6}, {4}};
  CHECK(moved("2", two, split(0, 0, {"tensor"}), split(1, 0, {"tensor"})) == "all_to_all");
  CHECK(moved("2", two, split(1, 0, {"tensor"}), split(0, 0, {"tensor"})) == "all_to_all");
  CHECK(moved("2", {{3, 6}, {4}}, split(0, 1, {"tensor"}), split(1, 0, {"tensor"})) == "reshape all_to_all reshape");
  // Twins: gathered, cut along another axis, along two axes, within one dim.
  CHECK(moved("2", two, split(0, 0, {"tensor"}), whole) == "all_gather");
  CHECK(moved("data=2,tensor=2", two, split(0, 0, {"tensor"}), split(1, 0, {"data"})) == "all_gather slice");
  CHECK(moved("data=2,tensor=2", two, split(0, 0, {"data", "tensor"}), split(1, 0, {"tensor"})) ==
        "all_gather all_gather slice");
  CHECK(moved("2", {{6, 4}}, split(0, 0, {"tensor"}), split(0, 1, {"tensor"})) ==
        "reshape all_gather reshape reshape slice reshape");
}

TEST_CASE("a dim of several parts is moved part by part, and only what is held otherwise travels") {
  Move m{must(parse_mesh("2")), {{{6, 2}, {3, 2}, {5}}, {{4}}}};
  auto with = [&](llvm::ArrayRef<size_t> cut) {
    Sharding s = m.unsplit();
    for (size_t p : cut) s.dims[0].parts[p].factors[0].axes = {"tensor"};
    return s;
  };
  auto moved = [&](const Sharding& from, const Sharding& to) {
    m.from = from, m.to = to;
    return ops(*m.spmd());
  };
  CHECK(moved(with({0, 1}), with({0, 1})) == "reshape");  // the test's own: nothing is to be done
  CHECK(moved(with({0, 1}), with({0})) == "slice slice reshape all_gather reshape slice concat");
  CHECK(moved(with({}), with({0, 1})) == "slice reshape slice reshape slice reshape slice reshape slice concat");
  Sharding sum = m.unsplit();
  sum.partial = {"tensor"}, sum.reduce = Reduce::sum;
  CHECK(moved(sum, with({2})) == "all_reduce slice slice slice slice concat");
}

TEST_CASE("any sharding becomes any other on every rank, uneven and empty ones too, in memory and from files") {
  std::mt19937 random(404);
  std::map<std::string, int> seen;
  const char* const meshes[] = {"2", "3", "5", "8", "a=2,b=3", "a=3,b=2", "a=2,b=2,c=2"};
  for (int n = 0; n < 700; ++n) {
    Move m{must(parse_mesh(meshes[size_t(n) % std::size(meshes)]))};
    for (size_t d = 1 + random() % 3; d-- > 0;) {
      FactorExtents& dim = m.parts.emplace_back();
      for (size_t p = random() % 4 ? 1 : 2 + random() % 2; p-- > 0;) {
        dim.emplace_back();
        for (size_t k = 1 + random() % 2; k-- > 0;) dim.back().push_back(int64_t(1 + random() % 7));
      }
    }
    m.named = random() % 2;
    m.from = m.to = m.unsplit();
    // A dim of several parts may be wanted as if it had none.
    for (size_t d = 0; d < m.parts.size(); ++d)
      if (m.parts[d].size() > 1 && random() % 3 == 0) m.to.dims[d] = FactorShardings{{m.dims()[d], {}}};
    auto place = [&](Sharding& s, const std::string& axis) {
      DimSharding& dim = s.dims[random() % s.dims.size()];
      const size_t first = random() % dim.parts.size();
      for (size_t p = 0; p < dim.parts.size(); ++p) {
        auto& factors = dim.parts[p].factors;
        if (p == first || random() % 2) factors[random() % factors.size()].axes.push_back(axis);
      }
    };
    m.from.reduce = Reduce::sum;
    for (const MeshAxis& a : m.mesh.axes) {
      if (random() % 4 == 0)
        m.from.partial.push_back(a.name);
      else if (random() % 4)
        place(m.from, a.name);
      if (random() % 4) place(m.to, a.name);
    }
    if (!m.from.is_partial()) m.from.reduce = Reduce::none;
    CAPTURE(m.text());
    Array whole;
    whole.resize(true, m.numbers());
    for (double& x : whole.f) x = double(int64_t(random() % 2001) - 1000);
    const std::vector<Array> in = parts(m, whole, random);
    const auto spmd = m.spmd();
    for (const auto& node : spmd->nodes) ++seen[node->op->name];
    Ranks ranks;
    for (int64_t r = 0; r < m.mesh.devices(); ++r) ranks.push_back(rank_graph(*spmd, r));
    check_results(m, in_float64(bound(m, ranks), in), whole);
    check_results(m, in_runtime(bound(m, ranks), in), whole);
    check_results(m, in_runtime(bound(m, through_files(ranks)), in), whole);
  }
  for (Collective kind : collective_ops) CHECK(seen[to_string(kind).str()] > 20);
}
