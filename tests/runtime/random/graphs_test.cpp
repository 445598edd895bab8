// Random graphs of eight nodes and more: products, softmax, norms, reductions, views and collectives in any order, so
// that fusion, buffers that are taken over and views meet as no model's graph makes them meet. Run by one rank or
// several.
//
// What an output may be off by comes from the graph itself: the reference runs again a few times on a copy in which
// every value is disturbed by up to 2^-22 of the value's largest element, four times what storing it in float32 costs
// at its largest element, and by float32's smallest normal number, below which kernels give 0. A kernel's result may
// differ by 32 times the largest difference that this makes in that output, plus as much of its own largest element:
// what cancels or is amplified in this graph is known, a step left out or applied twice is far outside. An output that
// float32 does not determine to three digits by this measure says nothing; how many there were is printed.
#include "runtime/comm/thread_communicator.h"
#include "runtime/run_ranks.h"
#include "tests/runtime/kernel_case.h"
#include "tests/runtime/random/random_cases.h"

namespace optp {
namespace {
constexpr double disturbance = 0x1p-22, smallest = 0x1p-126, allowed_ratio = 32, most_sensitive = 1e-3;
constexpr int disturbed_runs = 4;

class RandomGraph {
 public:
  Graph graph;

  RandomGraph(Random& random, int64_t ranks, Covered& covered) : random_(random), ranks_(ranks), covered_(covered) {
    build_.set_fold(false);
    static constexpr int64_t usual[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 17};
    auto extent = [&] { return usual[random.below(std::size(usual))]; };
    const int64_t batch = 1 + random.below(3), sequence = extent(), hidden = extent(), heads = 1 + random.below(4);
    input({batch, sequence, hidden});
    input({batch, sequence, hidden});
    input({batch, heads, sequence, sequence});
    input({batch, sequence, heads, extent()});
    const int64_t nodes = 8 + random.below(17);
    for (int tries = 0; int64_t(graph.size()) < nodes && tries < 400; ++tries) grow();
    // What nothing uses, so that all nodes live, and a few on the way: an intermediate that is an output must be
    // written.
    for (Value* v : pool_)
      if (v->producer && (v->uses.empty() || random_.below(12) == 0))
        graph.outputs.push_back({"out" + std::to_string(graph.outputs.size()), v});
  }

 private:
  using Extents = llvm::SmallVector<int64_t, 5>;
  static Extents extents(const Value& v) {
    Extents out;
    for (Dim d : v.type.dims) out.push_back(d.constant().value_or(0));
    return out;
  }
  static int64_t count(llvm::ArrayRef<int64_t> dims) {
    int64_t n = 1;
    for (int64_t d : dims) n *= d;
    return n;
  }
  static Dims dims_of(llvm::ArrayRef<int64_t> extents) { return Dims(extents.begin(), extents.end()); }

  void input(llvm::ArrayRef<int64_t> dims) {
    pool_.push_back(&graph.add_input("in" + std::to_string(graph.inputs.size()), {DType::f32, dims_of(dims)}));
  }
  Value* data(llvm::ArrayRef<int64_t> dims, double size) {
    Array a;
    a.resize(true, dims);
    for (double& v : a.f) v = size * double(random_.below(2001) - 1000) / 1000;
    return &graph.add_data(graph.unique_name("w"), to_tensor(a, DType::f32));
  }
  // Mostly what was made last, so that chains grow.
  Value* any() {
    const int64_t n = int64_t(pool_.size());
    return pool_[size_t(random_.below(4) ? std::max<int64_t>(0, n - 1 - random_.below(2)) : random_.below(n))];
  }
  void add(llvm::StringRef op, llvm::ArrayRef<Value*> operands, Attributes attributes = {}) {
    auto v = build_.create(op, operands, std::move(attributes), graph.unique_name("v"));
    REQUIRE_MESSAGE(bool(v), text(v.takeError()));
    pool_.push_back(*v);
    covered_.count(op.str());
  }

  void grow() {
    Value* x = any();
    const Extents dims = extents(*x);
    const int64_t ndim = int64_t(dims.size()), axis = ndim ? random_.below(ndim) : 0;
    if (count(dims) > 1500) return;
    switch (random_.below(ranks_ > 1 ? 22 : 17)) {
      case 0: {
        static const char* const ops[] = {"relu", "tanh", "sigmoid", "neg", "abs", "erf", "sin", "cos"};
        return add(ops[random_.below(std::size(ops))], {x});
      }
      case 1:
      case 2: {  // a factor, on either side
        Value* c = &build_.scalar(DType::f32, double(1 + random_.below(7)) / 4 * (random_.below(4) ? 1 : -1));
        if (random_.below(3) == 0) return add("div", {x, c});
        return random_.below(2) ? add("mul", {x, c}) : add("mul", {c, x});
      }
      case 3:
      case 4: {  // with a value, or a weight, that is broadcast
        static const char* const ops[] = {"add", "add", "add", "sub", "mul", "max", "min"};
        const char* op = ops[random_.below(std::size(ops))];
        Value* other = nullptr;
        for (int k = 0; k < 6 && !other; ++k)
          if (Value* v = any(); v->type.dims == x->type.dims) other = v;
        if (!other || random_.below(2)) {
          Extents own = dims;
          for (int64_t& n : own)
            if (random_.below(3) == 0) n = 1;
          if (random_.below(2)) own.erase(own.begin(), own.begin() + random_.below(ndim + 1));
          other = data(own, 1);
        }
        return random_.below(2) ? add(op, {x, other}) : add(op, {other, x});
      }
      case 5:
      case 6: {  // a layer's product
        if (ndim < 2) return;
        const int64_t out = 1 + random_.below(40);
        const bool transposed = random_.below(2);
        std::string rows;
        for (int64_t d = 0; d + 1 < ndim; ++d) rows += "d" + std::to_string(d) + " ";
        Value* w = data(transposed ? Extents{out, dims.back()} : Extents{dims.back(), out},
                        2 / std::sqrt(double(dims.back())));
        return add("contract", {x, w},
                   {{"loops", contract_loops(rows + "k, " + (transposed ? "n k" : "k n") + " -> " + rows + "n")}});
      }
      case 7: {  // of two values that share all but one dim, heads before or behind
        if (ndim != 3 && ndim != 4) return;
        Value* y = nullptr;
        for (int k = 0; k < 6 && !y; ++k)
          if (Value* v = any(); v->type.dims == x->type.dims) y = v;
        if (!y) y = x;
        if (ndim == 3) return add("contract", {x, y}, {{"loops", contract_loops("b m k, b n k -> b m n")}});
        return random_.below(2) ? add("contract", {x, y}, {{"loops", contract_loops("b m h k, b n h k -> b h m n")}})
                                : add("contract", {x, y}, {{"loops", contract_loops("b h m k, b h n k -> b m h n")}});
      }
      case 8: {  // attention's second product: probabilities by values
        if (ndim != 4) return;
        for (int k = 0; k < 8; ++k) {
          Value* v = any();
          const Extents other = extents(*v);
          if (other.size() != 4 || other[0] != dims[0] || other[1] != dims[3] || other[2] != dims[1]) continue;
          return add("contract", {x, v}, {{"loops", contract_loops("b h m k, b k h d -> b m h d")}});
        }
        return;
      }
      case 9:
      case 10:
        if (ndim == 0) return;
        return add("softmax", {x}, {{"axis", random_.below(4) ? ndim - 1 : axis}});
      case 11: {
        if (ndim == 0) return;
        Attributes epsilon{{"epsilon", 1e-2}};
        const Extents last{dims.back()};
        return add("layer_norm", {x, data(last, 1), data(last, 1)}, epsilon);
      }
      case 12: {
        if (ndim == 0) return;
        static const char* const ops[] = {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min"};
        llvm::SmallVector<int64_t, 4> axes{axis};
        if (random_.below(3) == 0 && axis + 1 < ndim) axes.push_back(axis + 1);
        return add(ops[random_.below(std::size(ops))], {x}, {{"axes", axes}, {"keepdims", random_.below(2)}});
      }
      case 13: {
        llvm::SmallVector<int64_t, 4> perm;
        for (int64_t d = 0; d < ndim; ++d) perm.push_back(d);
        std::shuffle(perm.begin(), perm.end(), random_.engine);
        return add("transpose", {x}, {{"perm", perm}});
      }
      case 14: {  // two neighbours joined, or one cut in two
        Extents to = dims;
        if (random_.below(2) && axis + 1 < ndim) {
          to[size_t(axis)] *= to[size_t(axis) + 1];
          to.erase(to.begin() + axis + 1);
        } else {
          if (ndim == 0 || ndim > 4) return;
          const int64_t part = to[size_t(axis)] % 2 == 0 ? 2 : to[size_t(axis)] % 3 == 0 ? 3 : 1;
          to[size_t(axis)] /= part;
          to.insert(to.begin() + axis, part);
        }
        return add("reshape", {x}, {{"dims", dims_of(to)}});
      }
      case 15: {
        if (ndim == 0) return;
        const int64_t n = dims[size_t(axis)], start = random_.below(n), size = 1 + random_.below(n - start);
        return add("slice", {x}, {{"axis", axis}, {"start", Dim(start)}, {"size", Dim(size)}});
      }
      case 16: {
        if (ndim == 0) return;
        llvm::SmallVector<Value*, 3> parts{x};
        for (int k = 0; k < 4; ++k) {
          Value* v = any();
          Extents other = extents(*v), own = dims;
          if (other.size() != own.size()) continue;
          other[size_t(axis)] = own[size_t(axis)] = 0;
          if (other == own && parts.size() < 3) parts.push_back(v);
        }
        return add("concat", parts, {{"axis", axis}});
      }
      case 17:
      case 18: {
        static const char* const reduce[] = {"sum", "sum", "max", "min"};
        return add("all_reduce", {x}, collective({{"reduce", std::string(reduce[random_.below(std::size(reduce))])}}));
      }
      case 19: {  // all ranks have one graph, so their chunks are of one size
        const int64_t n = ndim == 0 ? 0 : dims[size_t(axis)];
        if (n == 0 || n % ranks_ != 0) return;
        return add(
            "reduce_scatter", {x},
            collective(
                {{"axis", axis}, {"reduce", std::string("sum")}, {"total", Dim(n)}, {"local", Dim(n / ranks_)}}));
      }
      case 20: {
        const int64_t n = ndim < 2 ? 0 : dims[size_t(axis)];
        if (n == 0 || n % ranks_ != 0) return;
        const int64_t join = (axis + 1) % int64_t(ndim);
        return add("all_to_all", {x},
                   collective({{"split_axis", axis},
                               {"concat_axis", join},
                               {"total", Dim(dims[size_t(join)] * ranks_)},
                               {"local", Dim(n / ranks_)}}));
      }
      default: {
        if (ndim == 0) return;
        return add("all_gather", {x}, collective({{"axis", axis}, {"total", Dim(dims[size_t(axis)] * ranks_)}}));
      }
    }
  }
  Attributes collective(Attributes more) {
    llvm::SmallVector<int64_t, 4> group;
    for (int64_t r = 0; r < ranks_; ++r) group.push_back(r);
    more["group"] = group;
    more["id"] = "c." + std::to_string(graph.size());
    return more;
  }

  Random& random_;
  int64_t ranks_;
  Covered& covered_;
  Builder build_{graph};
  std::vector<Value*> pool_;
};

// The graph with an addition behind each node, whose other operand is an input "noise.<value>".
std::unique_ptr<Graph> with_noise(const Graph& graph) {
  auto out = std::make_unique<Graph>();
  Builder build(*out);
  build.set_fold(false);
  std::map<const Value*, Value*> values;
  for (const Value* v : graph.inputs) values[v] = &out->add_input(v->name, v->type);
  for (const Value* v : graph.data()) values[v] = &out->add_data(v->name, v->data);
  for (const auto& node : graph.nodes) {
    llvm::SmallVector<Value*, 4> operands;
    for (const Value* v : node->operands) operands.push_back(values.at(v));
    Value* made = llvm::cantFail(build.create(node->op->name, operands, node->attributes, node->out().name));
    Value& noise = out->add_input("noise." + node->out().name, made->type);
    values[&node->out()] = llvm::cantFail(build.create("add", {made, &noise}, {}, node->out().name + ".noisy"));
  }
  for (const GraphOutput& o : graph.outputs) out->outputs.push_back({o.name, values.at(o.value)});
  return out;
}

double largest(const Array& a) {
  double most = 0;
  for (double v : a.f) most = std::isnan(v) ? v : std::max(most, std::fabs(v));
  return most;
}

void try_graph(Random& random, int64_t ranks, Covered& covered) {
  RandomGraph made(random, ranks, covered);
  const Graph& graph = made.graph;
  std::string dump;
  llvm::raw_string_ostream stream(dump);
  print(stream, graph);
  CAPTURE(dump);
  std::vector<NamedArrays> inputs(static_cast<size_t>(ranks));
  for (NamedArrays& own : inputs)
    for (const Value* v : graph.inputs) {
      llvm::SmallVector<int64_t, 4> dims;
      for (Dim d : v->type.dims) dims.push_back(*d.constant());
      Array a;
      a.resize(true, dims);
      for (double& x : a.f) x = double(random.below(4001) - 2000) / 1024;
      own[v->name] = a;
    }
  const std::vector<const Graph*> graphs(size_t(ranks), &graph);
  std::map<std::string, double> sizes;
  std::map<std::string, llvm::SmallVector<int64_t, 4>> shapes;
  auto exact =
      run_reference(graphs, inputs, [&](const Node&, llvm::ArrayRef<const Value*> v, llvm::ArrayRef<const Array*> a) {
        for (const Array* one : a) sizes[v[0]->name] = std::max(sizes[v[0]->name], largest(*one));
        shapes[v[0]->name] = a[0]->dims;
        return llvm::Error::success();
      });
  REQUIRE_MESSAGE(bool(exact), text(exact.takeError()));
  for (const auto& [name, size] : sizes)
    if (!(size < 1e30)) return covered.count("too large");

  const auto noisy = with_noise(graph);
  const std::vector<const Graph*> disturbed(size_t(ranks), noisy.get());
  std::map<std::string, double> moved;
  for (int k = 0; k < disturbed_runs; ++k) {
    auto own = inputs;
    for (NamedArrays& arrays : own)
      for (const auto& [name, size] : sizes) {
        Array& noise = arrays["noise." + name];
        noise.resize(true, shapes[name]);
        for (double& x : noise.f) x = (disturbance * size + smallest) * double(random.below(2001) - 1000) / 1000;
      }
    // What is the same on all ranks is disturbed alike.
    for (const auto& node : graph.nodes)
      if (node->op->collective)
        for (size_t r = 1; r < own.size(); ++r)
          own[r]["noise." + node->out().name] = own[0]["noise." + node->out().name];
    auto result = run_reference(disturbed, own);
    REQUIRE_MESSAGE(bool(result), text(result.takeError()));
    for (size_t r = 0; r < size_t(ranks); ++r)
      for (const GraphOutput& o : graph.outputs) {
        const Array &a = (*exact)[r][o.name], &b = (*result)[r][o.name];
        double& most = moved[o.name];
        for (size_t i = 0; i < a.f.size(); ++i) most = std::max(most, std::fabs(a.f[i] - b.f[i]));
      }
  }

  RankThreadsOptions options;
  options.threads_per_device = 1 + int(random.below(2));
  options.executable.fuse = random.below(8) != 0;
  if (random.below(2)) options.executable.overlap_bytes = 0;
  ThreadWorld world(graphs.size());
  auto threads = RankThreads::create(world, PerRank<const Graph*>::of_all(graphs), options);
  REQUIRE_MESSAGE(bool(threads), text(threads.takeError()));
  std::vector<std::map<std::string, HostArray>> host(static_cast<size_t>(ranks));
  PerRank<HostInputs> host_inputs(world.held());
  for (size_t r = 0; r < size_t(ranks); ++r)
    for (const auto& [name, array] : inputs[r]) {
      host[r][name] = host_array(array, DType::f32);
      host_inputs[r][name] = &host[r][name];
    }
  PerRank<HostArrays> found;
  for (int again = 0; again < 2; ++again) {
    const std::string e = text((*threads)->run(host_inputs, found));
    REQUIRE(e == "");
  }
  int64_t steps = int64_t((*threads)->executable(0).steps().size());
  covered.count("nodes", int64_t(graph.size()));
  covered.count("nodes run in another's step or as views", int64_t(graph.size()) - steps);
  for (size_t r = 0; r < size_t(ranks); ++r)
    for (const GraphOutput& o : graph.outputs) {
      const Array &e = (*exact)[r][o.name], f = to_array(found[r].find(o.name)->second);
      REQUIRE(e.f.size() == f.f.size());
      const double allowed = allowed_ratio * (moved[o.name] + disturbance * largest(e) + smallest);
      covered.count("outputs");
      if (allowed > most_sensitive * largest(e) && allowed > 2 * allowed_ratio * smallest) {
        covered.count("outputs not determined");
        continue;
      }
      for (size_t i = 0; i < e.f.size(); ++i)
        if (!(std::fabs(e.f[i] - f.f[i]) <= allowed)) {
          CAPTURE(o.name);
          CAPTURE(i);
          CAPTURE(r);
          CAPTURE(allowed);
          REQUIRE(e.f[i] == f.f[i]);
        }
    }
}
}  // namespace

TEST_CASE("random graphs compute what the reference says, on one rank and on several") {
  Random random;
  random.engine.seed(random_seed() + 1);
  Covered covered("graphs");
  const int64_t cases = random_cases(400);
  for (int64_t k = 0; k < cases; ++k) {
    CAPTURE(k);
    const int64_t ranks = random.below(4) ? 1 : 2 + random.below(2);
    covered.count(std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks"));
    try_graph(random, ranks, covered);
  }
  if (cases >= 400) {
    CHECK(covered.of("too large") < cases / 50);
    CHECK(covered.of("outputs not determined") < covered.of("outputs") / 20);
    CHECK(covered.of("all_reduce") > cases / 4);
    CHECK(covered.of("reduce_scatter") > 0);
    CHECK(covered.of("all_to_all") > 0);
    CHECK(covered.of("nodes run in another's step or as views") > cases);
  }
}
}  // namespace optp
