// Rules by algebra: every op, split at random and run on simulated ranks, must give what it computes whole.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <set>

#include "frontend/ir/op.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/raw_ostream.h"
#include "passes/factors.h"
#include "passes/partials.h"
#include "passes/passes.h"
#include "passes/sharding_rules.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tests/passes/rank_graph.h"
#include "tests/passes/samples.h"

using namespace optp;
using namespace optp::samples;

namespace {
constexpr unsigned seed = 404;
using Random = std::mt19937;

bool chance(Random& random, double p) { return std::uniform_real_distribution<double>(0, 1)(random) < p; }
size_t below(Random& random, size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); }

int64_t number(Dim d) { return must(evaluate(d, named_dims())); }
llvm::SmallVector<int64_t, 4> numbers(llvm::ArrayRef<Dim> dims) {
  llvm::SmallVector<int64_t, 4> out;
  for (Dim d : dims) out.push_back(number(d));
  return out;
}
Sharding with_numbers(Sharding s) {
  for (DimSharding& d : s.dims)
    for (ProductSharding& p : d.parts)
      for (FactorSharding& f : p.factors) f.extent = number(f.extent);
  return s;
}
Array random_array(Random& random, const Input& input) {
  Array out;
  out.resize(is_float(input.dtype), numbers(input.dims));
  for (double& v : out.f) v = std::uniform_real_distribution<double>(input.low, input.high)(random);
  for (int64_t& v : out.i) v = std::uniform_int_distribution<int64_t>(int64_t(input.low), int64_t(input.high))(random);
  return out;
}
// Sums are taken in another order when split: a few ulp of the largest addend, which samples keep below 2^10.
bool close(const Array& a, const Array& b) {
  if (a.dims != b.dims || a.is_float != b.is_float || a.i != b.i) return false;
  for (size_t k = 0; k < a.f.size(); ++k)
    if (!(std::abs(a.f[k] - b.f[k]) <= 1e-12 * std::max(1.0, std::abs(b.f[k])))) return false;
  return true;
}

// A sample's graph, its inputs' elements, and what it computes whole.
struct Whole {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  NamedArrays inputs;
  Array result;
};
// How an operand is made a partial sum or maximum: it becomes a reduction of an input with one dim more.
constexpr int64_t addends = 3;
Whole build(const Sample& sample, Random& random, llvm::ArrayRef<Reduce> reduced = {}) {
  Whole out;
  Graph& g = *out.graph;
  Builder build(g);
  build.set_fold(false);
  llvm::SmallVector<Value*, 4> values;
  for (size_t k = 0; k < sample.inputs.size(); ++k) {
    Input input = sample.inputs[k];
    const std::string name = "x" + std::to_string(k);
    const bool is_reduced = k < reduced.size() && reduced[k] != Reduce::none;
    if (is_reduced) input.dims.insert(input.dims.begin(), Dim(addends));
    Array array = random_array(random, input);
    const bool fixed = llvm::all_of(input.dims, [](Dim d) { return d.constant().has_value(); });
    Value* v;
    if (fixed && chance(random, 0.3)) {
      v = &g.add_data(name, to_tensor(array, input.dtype));
    } else {
      v = &g.add_input(name, {input.dtype, input.dims});
      out.inputs[name] = std::move(array);
    }
    if (is_reduced)
      v = must(build.create(("reduce_" + to_string(reduced[k])).str(), {v},
                            {{"axes", llvm::SmallVector<int64_t, 4>{0}}, {"keepdims", int64_t(0)}}, name + ".sum"));
    values.push_back(v);
  }
  g.outputs.push_back({"y", must(sample.make(build, values))});
  const auto bound = must(bind_dims(g, named_dims()));
  out.result = must(run_reference({bound.get()}, {out.inputs}))[0]["y"];
  return out;
}

template <typename F>
void each_value(Graph& graph, F&& f) {
  for (Value* v : graph.values()) f(*v);
}
Sharding unsplit(const Factors& factors, const Value& v) {
  Sharding s = replicated(v.ndim());
  for (unsigned d = 0; d < v.ndim(); ++d) s.dims[d] = cut_at_majors(factors.of(v, d), {});
  return s;
}
// All values of one class of factors along one axis, as a strategy would; no axis twice in a value.
void shard_class(Graph& graph, const Factors& factors, Factors::Class c, const std::string& axis) {
  each_value(graph, [&](Value& v) {
    v.sharding = unsplit(factors, v);
    for (unsigned d = 0; d < v.ndim() && v.sharding->axes().empty(); ++d)
      for (size_t p = 0; p < v.sharding->dims[d].parts.size(); ++p) {
        ProductSharding& part = v.sharding->dims[d].parts[p];
        for (size_t k = 0; k < part.factors.size(); ++k)
          if (factors.of(v, d).parts[p].classes[k] == c && !part.is_split()) part.factors[k].axes = {axis};
      }
  });
}
// Each axis on any factor, also on one that an op needs whole, which split must repair: once a value, or in several
// parts of one dim.
void shard_at_random(Graph& graph, const Factors& factors, Random& random) {
  each_value(graph, [&](Value& v) {
    v.sharding = unsplit(factors, v);
    llvm::SmallVector<std::pair<size_t, size_t>, 8> places;  // dim and part
    for (size_t d = 0; d < v.ndim(); ++d)
      for (size_t p = 0; p < v.sharding->dims[d].parts.size(); ++p) places.emplace_back(d, p);
    if (places.empty()) return;
    std::vector<std::string> axes;
    for (const MeshAxis& a : graph.mesh.axes) axes.push_back(a.name);
    std::shuffle(axes.begin(), axes.end(), random);
    for (const std::string& axis : axes)
      if (chance(random, 0.75)) {
        const auto [d, first] = places[below(random, places.size())];
        auto& parts = v.sharding->dims[d].parts;
        for (size_t p = 0; p < parts.size(); ++p)
          if (p == first || chance(random, 0.5))
            parts[p].factors[below(random, parts[p].factors.size())].axes.push_back(axis);
      }
  });
}
// What is cut along one axis may be covered instead: copies on several ranks.
void cover_at_random(Graph& graph, Random& random) {
  each_value(graph, [&](Value& v) {
    for (DimSharding& dim : v.sharding->dims)
      for (ProductSharding& part : dim.parts)
        for (FactorSharding& f : part.factors)
          if (f.axes.size() == 1 && chance(random, 0.3)) f.axes[0].group = chance(random, 0.5) ? 2 : 4;
  });
}
// What annotate does with sums: a value stays partial where its op makes it so.
void keep_partials(Graph& graph, const Factors& factors, Random& random) {
  for (auto& node : graph.nodes) {
    llvm::SmallVector<PartialState, 3> states;
    for (const Value* v : node->operands) states.push_back({v->sharding->reduce, v->sharding->partial});
    llvm::SmallVector<bool, 3> accepts;
    const PartialState made =
        partial_result(*node, factors.rule(*node), factors, node_axes(*node, factors), states, accepts);
    // Of a sum's addends annotate leaves those alone in parts that it reduces together; elsewhere split reduces what is
    // not taken.
    if (node->op->name == "sum")
      for (size_t k = 0; k < accepts.size(); ++k)
        if (!accepts[k]) node->operand(k).sharding->partial.clear(), node->operand(k).sharding->reduce = Reduce::none;
    if (!made.is_partial() || !may_be_partial(*node->out().sharding, made) || chance(random, 0.1)) continue;
    node->out().sharding->partial = made.axes;
    node->out().sharding->reduce = made.reduce;
  }
}

std::vector<std::unique_ptr<Graph>> rank_graphs(const Graph& spmd) {
  std::vector<std::unique_ptr<Graph>> out;
  for (int64_t r = 0; r < spmd.mesh.devices(); ++r) out.push_back(must(bind_dims(*rank_graph(spmd, r), named_dims())));
  return out;
}
// Runs all ranks and compares each value's places with the whole; what is wrong, or nothing.
std::string differs(const Whole& whole, const Graph& spmd, llvm::ArrayRef<std::unique_ptr<Graph>> ranks) {
  std::vector<NamedArrays> inputs(ranks.size());
  std::vector<const Graph*> graphs;
  for (size_t r = 0; r < ranks.size(); ++r) {
    graphs.push_back(ranks[r].get());
    for (const Value* v : spmd.inputs) {
      const Array& array = whole.inputs.find(v->name)->second;
      inputs[r][v->name] = take(Shard::of(array.dims, with_numbers(*v->sharding), spmd.mesh, int64_t(r)), array);
    }
  }
  // What a rank computes must have the shape that its graph says.
  std::string wrong;
  const ReferenceTap tap = [&](const Node& node, llvm::ArrayRef<const Value*> values,
                               llvm::ArrayRef<const Array*> arrays) -> llvm::Error {
    for (size_t r = 0; r < values.size(); ++r)
      if (wrong.empty() && numbers(values[r]->type.dims) != arrays[r]->dims)
        wrong = "rank " + std::to_string(r) + ": shape of " + values[r]->name;
    return llvm::Error::success();
  };
  auto results = run_reference(graphs, inputs, tap);
  if (!results) return llvm::toString(results.takeError());
  if (!wrong.empty()) return wrong;
  const std::vector<Shard> shards =
      Shard::of_all(whole.result.dims, with_numbers(*spmd.outputs[0].value->sharding), spmd.mesh);
  // Every rank's own shard is compared: copies must agree, too.
  for (size_t r = 0; r < ranks.size(); ++r) {
    const Array& got = (*results)[r]["y"];
    if (!close(got, take(shards[r], whole.result))) return "rank " + std::to_string(r) + ": its part of the result";
  }
  Array joined;
  joined.resize(whole.result.is_float, whole.result.dims);
  std::fill(joined.f.begin(), joined.f.end(), NAN);
  for (size_t r = 0; r < ranks.size(); ++r) put(shards[r], joined, (*results)[r]["y"]);
  return close(joined, whole.result) ? "" : "the parts together are not the whole";
}
std::string said(int64_t cases) { return std::to_string(cases) + " cases of seed " + std::to_string(seed); }
std::string text_of(const Graph& graph) {
  std::string text;
  llvm::raw_string_ostream out(text);
  print(out, graph);
  return text;
}
struct Count {
  int64_t cases = 0, failed = 0;
  std::map<std::string, int64_t> collectives;
};
void check_split(const Whole& whole, OutputLayout layout, Count& count) {
  ++count.cases;
  std::string wrong, after;
  try {
    PassOptions options;
    options.outputs = layout;
    const auto lowered = whole.graph->clone();  // no sum of several addends reaches split
    if (auto e = lower_sums(*lowered)) throw std::runtime_error(llvm::toString(std::move(e)));
    const auto spmd = must(split(*lowered, options));
    after = text_of(*spmd);
    std::set<std::string> ids;
    for (const auto& node : spmd->nodes)
      if (node->op->collective) {
        ++count.collectives[node->op->name];
        if (!ids.insert(node->text("id").str()).second) wrong = "two collectives meet as " + node->text("id").str();
      }
    if (wrong.empty()) wrong = differs(whole, *spmd, rank_graphs(*spmd));
  } catch (const std::exception& e) {
    wrong = e.what();
  }
  if (wrong.empty() || ++count.failed > 8) return;  // the first few say enough
  const std::string message = wrong + "\n" + text_of(*whole.graph) +
                              (layout == OutputLayout::whole ? "=> outputs whole\n" : "=> outputs sharded\n") + after;
  FAIL_CHECK(message);
}

const char* const meshes[] = {"tensor=1", "tensor=2",         "tensor=3",        "tensor=5",
                              "tensor=8", "data=2, tensor=2", "data=3, tensor=2"};
const Table& table() {
  static const Table samples;
  return samples;
}
// Which reductions can be of parts through an operand that the mark says they pass, all such operands at once or one.
std::vector<std::vector<Reduce>> passing(const Node& node, Linear linear) {
  const size_t n = node.operands.size();
  std::vector<std::vector<Reduce>> out;
  switch (linear) {
    case Linear::none:
      break;
    case Linear::view:
      for (Reduce r : {Reduce::sum, Reduce::max, Reduce::min}) out.push_back({r});
      break;
    case Linear::jointly:
    case Linear::addends:
      out.push_back(std::vector<Reduce>(n, Reduce::sum));
      break;
    case Linear::in_each_operand:
      for (size_t k = 0; k < n; ++k) {
        out.emplace_back(n, Reduce::none);
        out.back()[k] = Reduce::sum;
      }
      break;
    case Linear::in_first:
      out.emplace_back(n, Reduce::none);
      out.back()[0] = Reduce::sum;
      break;
  }
  return out;
}
Array joined(const Array& a, const Array& b, Reduce reduce) {
  Array out = a;
  auto join = [&](auto x, auto y) {
    return reduce == Reduce::sum ? x + y : (reduce == Reduce::max ? std::max(x, y) : std::min(x, y));
  };
  for (size_t k = 0; k < a.f.size(); ++k) out.f[k] = join(a.f[k], b.f[k]);
  for (size_t k = 0; k < a.i.size(); ++k) out.i[k] = join(a.i[k], b.i[k]);
  return out;
}
}  // namespace

TEST_CASE("every op that is registered has samples") {
  for (const OpDef* op : all_ops())
    if (!op->collective)
      CHECK_MESSAGE(!table().of(op->name).empty(), "no samples of op ", op->name,
                    ": add some to tests/passes/samples.h");
}

TEST_CASE("every op, split and run on n ranks, reassembles to what it computes whole") {
  Random random(seed);
  Count count;
  for (const OpDef* op : all_ops())
    for (const Sample& sample : table().of(op->name)) {
      Whole whole = build(sample, random);
      const Factors factors = must(Factors::of(*whole.graph));
      for (const char* mesh : meshes) {
        whole.graph->mesh = must(parse_mesh(mesh));
        const int64_t devices = whole.graph->mesh.devices();
        if (devices == 3 || devices == 8)
          for (size_t c = 0; c < factors.size(); ++c) {
            shard_class(*whole.graph, factors, int(c), "tensor");
            check_split(whole, OutputLayout::sharded, count);
          }
        for (int k = 0; k < (sample.single ? 2 : 12); ++k) {
          shard_at_random(*whole.graph, factors, random);
          if (k % 3 == 2) {
            cover_at_random(*whole.graph, random);
            keep_partials(*whole.graph, factors, random);
          }
          check_split(whole, k % 2 ? OutputLayout::whole : OutputLayout::sharded, count);
        }
      }
    }
  MESSAGE(said(count.cases));
  for (const char* op : {"all_reduce", "all_gather"}) CHECK(count.collectives[op] > 0);
}

TEST_CASE(
    "partial sums, maxima and minima that reach an op are passed on or reduced before it, never lost or counted "
    "twice") {
  Random random(seed);
  Count count;
  for (const OpDef* op : all_ops())
    for (const Sample& sample : table().of(op->name)) {
      if (!sample.single || sample.inputs.empty()) continue;
      for (const char* mesh : {"tensor=2", "tensor=5", "data=2, tensor=2"})
        for (Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min}) {
          std::vector<Reduce> reduced;
          for (const Input& input : sample.inputs) {
            // A sum of indices may be none.
            const bool is_lookup = llvm::StringSwitch<bool>(op->name)
                                       .Cases("gather", "scatter_add", "gather_elements", "scatter_add_elements", true)
                                       .Default(false);
            const bool may = reduce != Reduce::sum || (input.dtype == DType::f64 && input.low < 0) ||
                             (input.dtype == DType::i64 && !is_lookup && input.low < 0);
            reduced.push_back(may && input.dtype != DType::boolean && chance(random, 0.8) ? reduce : Reduce::none);
          }
          if (op->name == "pow" && reduce == Reduce::sum) continue;
          Whole whole = build(sample, random, reduced);
          const Factors factors = must(Factors::of(*whole.graph));
          whole.graph->mesh = must(parse_mesh(mesh));
          shard_at_random(*whole.graph, factors, random);
          if (chance(random, 0.5)) cover_at_random(*whole.graph, random);
          keep_partials(*whole.graph, factors, random);
          check_split(whole, chance(random, 0.5) ? OutputLayout::whole : OutputLayout::sharded, count);
        }
    }
  MESSAGE(said(count.cases));
}

TEST_CASE("an op that is marked linear gives for a sum of addends the sum of what it gives for each") {
  Random random(seed);
  int64_t cases = 0;
  for (const OpDef* op : all_ops())
    for (const Sample& sample : table().of(op->name)) {
      if (!sample.single || sample.inputs.empty() || !op->rule) continue;
      Whole whole = build(sample, random);
      const auto bound = must(bind_dims(*whole.graph, named_dims()));
      const Node& node = *bound->nodes.front();
      const Rule rule = must(op->rule(node));
      Arrays held;
      for (const Input& input : sample.inputs) held.push_back(random_array(random, input));
      auto result_of = [&](const Arrays& operands) {
        llvm::SmallVector<const Array*, 4> pointers;
        for (const Array& a : operands) pointers.push_back(&a);
        return must(op->evaluate(node, pointers))[0];
      };
      for (const auto& reduces : passing(node, rule.linear)) {
        Arrays a = held, b = held, both = held;
        Reduce reduce = Reduce::none;
        for (size_t k = 0; k < reduces.size(); ++k) {
          if (reduces[k] == Reduce::none) continue;
          reduce = reduces[k];
          b[k] = random_array(random, sample.inputs[k]);
          both[k] = joined(a[k], b[k], reduce);
        }
        CAPTURE(text_of(*whole.graph));
        CHECK(close(result_of(both), joined(result_of(a), result_of(b), reduce)));
        ++cases;
      }
    }
  MESSAGE(said(cases));
}

TEST_CASE("a partial passes through an op in no other way than its mark allows") {
  Random random(seed);
  for (const OpDef* op : all_ops())
    for (const Sample& sample : table().of(op->name)) {
      if (!sample.single || sample.inputs.empty()) continue;
      Whole whole = build(sample, random);
      const Factors factors = must(Factors::of(*whole.graph));
      const Node& node = *whole.graph->nodes.front();
      const Rule& rule = factors.rule(node);
      const auto allowed = passing(node, rule.linear);
      for (Reduce reduce : {Reduce::sum, Reduce::max, Reduce::min})
        for (unsigned which = 1; which < 1u << node.operands.size(); ++which) {
          std::vector<Reduce> wanted(node.operands.size(), Reduce::none);
          llvm::SmallVector<PartialState, 3> states(node.operands.size());
          for (size_t k = 0; k < wanted.size(); ++k)
            if (which >> k & 1) wanted[k] = reduce, states[k] = {reduce, {"tensor"}};
          llvm::SmallVector<bool, 3> accepts;
          const PartialState made = partial_result(node, rule, factors, NodeAxes(), states, accepts);
          const bool may = llvm::is_contained(allowed, wanted);
          CAPTURE(text_of(*whole.graph));
          // A sum takes its partial addends as they are, whatever the others are: it reduces them together. Of a
          // product's two sums one may be taken, where the other is reduced.
          const bool joined = rule.linear == Linear::addends && reduce == Reduce::sum;
          const bool one_of_two = rule.linear == Linear::in_each_operand && reduce == Reduce::sum && which == 3;
          auto taken = wanted;
          for (size_t k = 0; k < wanted.size(); ++k) {
            if (!accepts[k]) taken[k] = Reduce::none;
            CHECK((accepts[k] || !(may || joined || wanted[k] == Reduce::none)));
            if (!may && !joined && !one_of_two && wanted[k] != Reduce::none) CHECK(!accepts[k]);
          }
          CHECK(made.is_partial() == llvm::is_contained(allowed, taken));
          if (!one_of_two) CHECK(made.is_partial() == may);
        }
    }
}

namespace {
// A split graph of one sample: all values of the class of `value`'s dim along tensor, on three ranks.
struct Prepared {
  Whole whole;
  std::unique_ptr<Graph> spmd;
};
Prepared prepared(const Sample& sample, int input, unsigned dim) {
  Random random(seed);
  Prepared out{build(sample, random), nullptr};
  Graph& g = *out.whole.graph;
  g.mesh = must(parse_mesh("tensor=3"));
  const Factors factors = must(Factors::of(g));
  const Value& v = input < 0 ? g.nodes.front()->out() : g.nodes.front()->operand(size_t(input));
  shard_class(g, factors, factors.of(v, dim).classes()[0], "tensor");
  PassOptions options;
  options.outputs = OutputLayout::sharded;
  out.spmd = must(split(g, options));
  return out;
}
std::string problem(const Prepared& p) {
  try {
    return differs(p.whole, *p.spmd, rank_graphs(*p.spmd));
  } catch (const std::exception& e) {
    return e.what();
  }
}
}  // namespace

TEST_CASE("mutants: a dropped sum, a start that is one off and a bias on every rank are found") {
  SUBCASE("a dropped all_reduce") {
    for (const auto& [op, input, dim] : std::vector<std::tuple<const char*, int, unsigned>>{
             {"contract", 1, 0}, {"gather", 0, 0}, {"reduce_sum", 0, 1}, {"reduce_max", 0, 1}, {"reduce_mean", 0, 1}}) {
      Prepared p = prepared(table().of(op)[0], input, dim);
      CAPTURE(text_of(*p.spmd));
      REQUIRE(problem(p) == "");
      int64_t dropped = 0;
      for (auto it = p.spmd->nodes.begin(); it != p.spmd->nodes.end();) {
        Node& node = **it++;
        if (node.op->name != "all_reduce") continue;
        node.operand(0).sharding = node.out().sharding;
        p.spmd->replace_all_uses(node.out(), node.operand(0));
        p.spmd->erase(node);
        ++dropped;
      }
      CHECK(dropped == 1);
      CHECK(problem(p) != "");
    }
  }
  SUBCASE("a start that is one off") {
    for (const auto& [op, input, dim, key] : std::vector<std::tuple<const char*, int, unsigned, const char*>>{
             {"iota", -1, 0, "start"}, {"gather", 0, 0, "row_start"}, {"slice", -1, 0, "start"}}) {
      Prepared p = prepared(table().of(op)[0], input, dim);
      CAPTURE(text_of(*p.spmd));
      REQUIRE(problem(p) == "");
      int64_t moved = 0;
      for (auto& node : p.spmd->nodes)
        if (const Dim* start = node->find<Dim>(key)) node->attributes[key] = *start - Dim(1), ++moved;
      CHECK(moved > 0);
      CHECK(problem(p) != "");
    }
  }
  SUBCASE("a mean divided by its rank's count") {
    Prepared p = prepared(table().of("reduce_mean")[0], 0, 1);
    REQUIRE(problem(p) == "");
    for (auto& node : p.spmd->nodes) node->attributes.erase("count");
    CHECK(problem(p) != "");
  }
  SUBCASE("a bias on every rank") {
    Graph g;
    g.mesh = must(parse_mesh("tensor=2"));
    Builder build(g);
    Value &x = g.add_input("x", {DType::f64, {4, 6}}), &w = g.add_input("w", {DType::f64, {6, 3}}),
          &bias = g.add_input("bias", {DType::f64, {3}});
    Value* p = must(build.create("contract", {&x, &w}, {{"loops", contract_loops("m k, k n -> m n")}}, "p"));
    g.outputs.push_back({"y", must(build.create("add", {p, &bias}, {}, "y"))});
    const Factors factors = must(Factors::of(g));
    shard_class(g, factors, factors.of(x, 1).classes()[0], "tensor");
    for (const bool wrong : {false, true}) {
      // The mark says that the product may stay partial up to the result; the addition must not take it so.
      g.nodes.front()->out().sharding->partial = {"tensor"};
      g.nodes.front()->out().sharding->reduce = Reduce::sum;
      auto spmd = must(split(g, {}));
      if (wrong) {
        Node *sum = nullptr, *add = nullptr;
        for (auto& node : spmd->nodes)
          (node->op->name == "all_reduce" ? sum : node->op->name == "add" ? add : sum) = node.get();
        REQUIRE((sum && add));
        spmd->set_operand(*add, 0, sum->operand(0));
        spmd->outputs[0].value = &add->out();
        spmd->erase(*sum);
        Builder late(*spmd);
        Value* y =
            must(late.create("all_reduce", {&add->out()},
                             {{"axes", std::vector<std::string>{"tensor"}}, {"reduce", std::string("sum")}}, "y.sum"));
        y->sharding = add->out().sharding;
        spmd->outputs[0].value = y;
      }
      Random random(seed);
      Whole whole;
      for (const Value* v : g.inputs) whole.inputs[v->name] = random_array(random, {v->type.dims, v->type.dtype});
      const auto results = must(run_reference({&g}, {whole.inputs}));
      whole.result = results[0].find("y")->second;
      CHECK((differs(whole, *spmd, rank_graphs(*spmd)) == "") == !wrong);
    }
  }
}

TEST_CASE("every collective computes, on parts that differ in size, what its members hold together") {
  Random random(seed);
  for (const OpDef* op : all_ops()) {
    if (!op->collective) continue;
    const Collective kind = *op->collective;
    CHECK(op->name == to_string(kind));
    for (const int64_t members : {1, 2, 3, 5, 8}) {
      Graph g;
      g.mesh = must(parse_mesh(std::to_string(members)));
      Builder build(g);
      const Extents extents{7, 4};
      CollectiveCall call{.kind = kind, .id = "c", .axes = {"tensor"}, .dims = {7, 4}};
      Dims own{7, 4};
      if (reduces(kind)) call.reduce = Reduce::sum;
      if (cuts(kind)) call.cut_axis = 0, call.local = Dim::part(7, {"tensor"});
      if (joins(kind)) {
        call.join_axis = cuts(kind) ? 1 : 0;
        own[size_t(call.join_axis)] = Dim::part(extents[size_t(call.join_axis)], {"tensor"});
      }
      Value& x = g.add_input("x", {DType::f64, own});
      g.outputs.push_back({"y", must(build.create(op->name, {&x}, attributes_of(call), "y"))});
      auto chunk = [&](int64_t axis, int64_t r) { return Shard::chunk_of(extents, size_t(axis), members, r); };
      Array whole = random_array(random, {{7, 4}});
      std::vector<NamedArrays> inputs;
      for (int64_t r = 0; r < members; ++r) {
        Array in = joins(kind) ? take(chunk(call.join_axis, r), whole) : random_array(random, {{7, 4}});
        if (reduces(kind)) whole = r == 0 ? in : joined(whole, in, Reduce::sum);
        inputs.push_back({{"x", std::move(in)}});
      }
      const auto ranks = rank_graphs(g);
      std::vector<const Graph*> graphs;
      for (const auto& rank : ranks) graphs.push_back(rank.get());
      auto results = must(run_reference(graphs, inputs));
      for (int64_t r = 0; r < members; ++r) {
        const Array expected = cuts(kind) ? take(chunk(call.cut_axis, r), whole) : whole;
        CHECK_MESSAGE(close(results[size_t(r)]["y"], expected), op->name, " of ", members);
      }
    }
  }
}
