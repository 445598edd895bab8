// Training steps of real exports: where they communicate, that forward stays as it was, and that what the ranks hold of
// loss, gradients and updates is what the step computes whole, in float64 arithmetic.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/npy.h"
#include "frontend/ir/builder.h"
#include "frontend/ir/op.h"
#include "passes/plan/job.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tools/run/inputs.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
struct Case {
  std::string name, folder;
  int64_t layers;
  bool tied, stripped, half;
  int64_t sums_a_layer;  // 1: attention and MLP are side by side; 3: queries and keys are normalised over all heads
  bool one_key;          // which all heads share
};
std::vector<Case> cases() {
  std::vector<Case> out;
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports")) {
    const std::string folder = entry.path().string();
    auto file = must(open_input_file(folder + "/case.json"));
    auto json = must(parse_json("case.json", file->text()));
    const auto& o = *json.getAsObject();
    const auto& config = *o.getObject("config");
    const llvm::StringRef family = *o.getString("family");
    out.push_back({o.getString("name")->str(), folder,
                   config.getInteger("num_hidden_layers") ? *config.getInteger("num_hidden_layers")
                                                          : *config.getInteger("n_layer"),
                   *o.getBoolean("tied"), *o.getBoolean("strip"), o.getString("dtype")->contains("16"),
                   family == "GPTNeoX" ? 1
                   : family == "Olmo2" ? 3
                                       : 2,
                   config.getBoolean("multi_query").value_or(false)});
  }
  std::sort(out.begin(), out.end(), [](const Case& a, const Case& b) { return a.name < b.name; });
  return out;
}
Case case_of(llvm::StringRef name) {
  for (const Case& c : cases())
    if (c.name == name) return c;
  throw std::runtime_error("no export " + name.str());
}
JobOptions training(const Case& c, const std::string& mesh) {
  JobOptions o;
  o.model = c.folder + "/model.onnx";
  o.mesh = must(parse_mesh(mesh));
  o.train = true;
  return o;
}
std::string refused(const JobOptions& o) {
  auto job = make_job(o);
  return job ? "not refused" : llvm::toString(job.takeError());
}

// The model's inputs, labels for each token, and what an optimizer starts from.
struct Batch {
  NamedArrays arrays;
  DimValues dims;
};
Batch batch_of(const Case& c, const Job& job, llvm::function_ref<int64_t(int64_t position, int64_t vocabulary)> label) {
  Batch out;
  Shapes shapes;
  for (const Value* v : job.imported->inputs) {
    out.arrays[v->name] = to_array(must(read_npy(c.folder + "/inputs/" + v->name + ".npy")));
    shapes[v->name].assign(out.arrays[v->name].dims.begin(), out.arrays[v->name].dims.end());
  }
  out.dims = must(bind_input_dims(*job.imported, shapes));
  int64_t vocabulary = 0;
  for (const GraphOutput& o : job.inference->outputs)
    if (o.name == "logits") vocabulary = *o.value->type.dims[2].constant();
  for (const Value* v : job.whole->inputs) {
    if (out.arrays.count(v->name)) continue;
    llvm::SmallVector<int64_t, 4> dims;
    for (Dim d : v->type.dims) dims.push_back(must(evaluate(d, out.dims)));
    Array& a = out.arrays[v->name];
    a.resize(is_float(v->type.dtype), dims);
    if (v->name == "labels")
      for (size_t k = 0; k < a.i.size(); ++k) a.i[k] = label(int64_t(k), vocabulary);
    if (v->name == "learning_rate") a.f[0] = 1e-3;
  }
  return out;
}
// A third of the labels is left out.
int64_t some_label(int64_t position, int64_t vocabulary) {
  return position % 3 == 1 ? -100 : (position * 7919 + 31) % vocabulary;
}

NamedArrays run_whole(const Graph& graph, const Batch& batch) {
  return must(run_reference({must(bind_dims(graph, batch.dims)).get()}, {batch.arrays}))[0];
}
// What all ranks' parts together are; parts that overlap must agree.
NamedArrays run_parts(const Job& job, const Batch& batch) {
  std::vector<std::unique_ptr<Graph>> bound;
  std::vector<const Graph*> ranks;
  std::vector<NamedArrays> inputs;
  for (size_t r = 0; r < job.ranks.size(); ++r) {
    bound.push_back(must(bind_dims(*job.ranks[r], batch.dims)));
    ranks.push_back(bound.back().get());
    inputs.emplace_back();
    for (const Value* v : ranks.back()->inputs) {
      const Array& whole = batch.arrays.find(v->name)->second;
      inputs.back()[v->name] = take(Shard::of(whole.dims, *v->sharding, job.whole->mesh, int64_t(r)), whole);
    }
  }
  const auto results = must(run_reference(ranks, inputs));
  NamedArrays out;
  for (const GraphOutput& o : job.whole->outputs) {
    Array& whole = out[o.name];
    llvm::SmallVector<int64_t, 4> dims;
    for (Dim d : o.value->type.dims) dims.push_back(must(evaluate(d, batch.dims)));
    whole.resize(is_float(o.value->type.dtype), dims);
    std::fill(whole.f.begin(), whole.f.end(), NAN);
    for (size_t r = 0; r < ranks.size(); ++r) {
      const Sharding* held = nullptr;
      for (const GraphOutput& mine : ranks[r]->outputs)
        if (mine.name == o.name) held = &*mine.value->sharding;
      REQUIRE(held);
      const Array& part = results[r].find(o.name)->second;
      const Shard shard = Shard::of(dims, *held, job.whole->mesh, int64_t(r));
      const Array before = take(shard, whole);
      bool agree = true;
      for (size_t k = 0; k < part.f.size(); ++k)
        agree &=
            std::isnan(before.f[k]) || std::abs(part.f[k] - before.f[k]) <= 1e-12 * std::max(1.0, std::abs(part.f[k]));
      CHECK_MESSAGE(agree, o.name, ": copies differ");
      put(shard, whole, part);
    }
  }
  return out;
}
double largest(const Array& a) {
  double out = 0;
  for (double x : a.f) out = std::max(out, std::abs(x));
  return out;
}
// The largest difference, in units of the array's largest element. A gradient that is zero but for rounding (of a key's
// bias: softmax does not see what all scores share) has none of its own: no unit is below a thousandth of all
// gradients' largest.
std::string compared(const Graph& whole, const NamedArrays& expected, const NamedArrays& found) {
  double all = 0;
  for (const GradientOutput& g : whole.gradients) all = std::max(all, largest(expected.find(g.output)->second));
  for (const auto& [name, e] : expected) {
    auto it = found.find(name);
    if (it == found.end() || it->second.dims != e.dims) return name + ": not there in its shape";
    const bool gradient =
        llvm::any_of(whole.gradients, [&, n = &name](const GradientOutput& g) { return g.output == *n; });
    // An update divides a gradient by its own size, and so its rounding by as little as epsilon.
    const double unit = gradient ? std::max(largest(e), 1e-3 * all) : std::max(largest(e), 1e-3),
                 tolerance = gradient || name == "loss" ? 1e-12 : 1e-9;
    for (size_t k = 0; k < e.f.size(); ++k)
      if (const double d = std::abs(it->second.f[k] - e.f[k]); !(d <= tolerance * unit))
        return name + ": element " + std::to_string(k) + ": expected " + std::to_string(e.f[k]) + ", difference " +
               std::to_string(d / unit * 1e12) + "e-12";
    if (it->second.i != e.i) return name + ": integers differ";
  }
  return "";
}

using Counts =
    std::map<std::string, int64_t>;  // "phase kind reduce", and "of weights" if the size does not depend on the batch
Counts collectives(const Graph& spmd) {
  Counts out;
  for (const auto& node : spmd.nodes) {
    if (!node->op->collective) continue;
    std::string what = to_string(node->phase).str() + " " + node->op->name;
    if (!node->text("reduce").empty()) what += " " + node->text("reduce").str();
    if (node->phase == Phase::backward && product(node->out().type.dims).constant()) what += " of weights";
    ++out[what];
  }
  return out;
}
std::string text_of(const Counts& counts) {
  std::string out;
  for (const auto& [what, n] : counts) out += std::to_string(n) + " " + what + "\n";
  return out;
}
}  // namespace

TEST_CASE(
    "a training step communicates where the formula says: 2L + 1 forward, a maximum and a sum for the loss, 2L + 1 "
    "backward, one to clip") {
  for (const Case& c : cases())
    for (const double clip : {0.0, 1.0}) {
      JobOptions o = training(c, "tensor=2");
      o.training.max_gradient_norm = clip;
      const Job job = must(make_job(o));
      Counts expected{{"forward all_reduce sum", c.sums_a_layer * c.layers + 1},
                      {"loss all_reduce max", 1},
                      {"loss all_reduce sum", 1},
                      {"backward all_reduce sum", c.sums_a_layer * c.layers + 1}};
      // The gradients of the key and value that all heads share, together.
      if (c.one_key) expected["backward all_reduce sum"] += c.layers;
      if (clip > 0) expected["optimizer all_reduce sum"] = 1;
      // Of a weight that is held whole, but meets a gradient in parts, the gradient is a sum: projections beside a
      // split model of another width, and norms whose gradient passes on to the residual as parts. One meeting is
      // enough for all.
      if (c.name == "opt350m-tiny" || c.name == "gpt2-tiny" || c.name == "neox-tiny")
        expected["backward all_reduce sum of weights"] = 1;
      CAPTURE(c.name);
      CHECK(text_of(collectives(*job.spmd)) == text_of(expected));
    }
}

TEST_CASE("forward in a training plan is the inference plan: the same nodes, shardings and collectives") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const Job job = must(make_job(training(c, "tensor=3")));
    int64_t same = 0;
    std::set<std::string> seen;
    for (const auto& node : job.whole->nodes) {
      if (node->phase != Phase::forward) continue;
      const Value& v = node->out();
      if (c.half && llvm::StringRef(v.cause.text).contains("master")) continue;  // where a float32 master is made half
      const Value* before = job.inference->find(v.name);
      CAPTURE(v.name);
      REQUIRE(before != nullptr);
      REQUIRE(before->producer != nullptr);
      CHECK(before->producer->op == node->op);
      CHECK(to_string(*v.sharding) == to_string(*before->sharding));
      seen.insert(v.name);
      ++same;
    }
    CHECK(same > 10 * c.layers);
    // What is no longer there only fed outputs that training does not give: caches.
    for (const auto& node : job.inference->nodes)
      if (!seen.count(node->out().name)) CHECK(!job.inference->states.empty());
    const Job inference = must(make_job([&] {
      JobOptions o = training(c, "tensor=3");
      o.train = false;
      return o;
    }()));
    std::vector<std::string> before, now;
    for (const auto& node : inference.spmd->nodes)
      if (node->op->name == "all_reduce") before.push_back(node->out().name + " of " + node->operand(0).name);
    for (const auto& node : job.spmd->nodes)
      if (node->op->collective && node->phase == Phase::forward)
        now.push_back(node->out().name + " of " + node->operand(0).name);
    CHECK(before == now);
  }
}

TEST_CASE("loss, gradients and updates of all ranks are those of the whole step") {
  for (const Case& c : cases()) {
    if (c.stripped) continue;
    NamedArrays expected;
    const bool every =
        c.name == "opt-tiny" || c.name == "llama-tiny-dynamo" || c.name == "gpt2-tiny" || c.name == "opt350m-tiny";
    for (const std::string mesh : {"tensor=2", "tensor=3", "data=2, tensor=2", "tensor=1", "tensor=4", "tensor=5",
                                   "tensor=6", "tensor=7", "tensor=8", "data=2, tensor=3"}) {
      if (!every && mesh == "tensor=1") break;
      CAPTURE(c.name);
      CAPTURE(mesh);
      JobOptions o = training(c, mesh);
      o.training.max_gradient_norm = 0.5;
      const Job job = must(make_job(o));
      const Batch batch = batch_of(c, job, some_label);
      if (expected.empty()) expected = run_whole(*job.whole, batch);
      CHECK(compared(*job.whole, expected, run_parts(job, batch)) == "");
    }
  }
}

TEST_CASE("with the batch cut over data, gradients are summed over it and divided once") {
  const std::string file = (fs::temp_directory_path() / ("optp-training-" + std::to_string(::getpid()))).string();
  std::ofstream(file) << "input_ids [data, _]\n";
  for (const std::string name : {"llama-tiny-dynamo"}) {
    const Case c = case_of(name);
    const Job whole = must(make_job(training(c, "tensor=1")));
    for (const std::string mesh : {"data=2", "data=2, tensor=2", "data=2, tensor=3"}) {
      CAPTURE(name);
      CAPTURE(mesh);
      JobOptions o = training(c, mesh);
      o.sharding_file = file;
      const Job job = must(make_job(o));
      const Value* labels = job.whole->find("labels");
      CHECK(to_string(*labels->sharding) == "[data, _]");
      // The first row counts two labels and the second the rest: a mean of means would not do.
      const Batch batch = batch_of(
          c, job, [](int64_t k, int64_t vocabulary) { return k > 2 && k < 9 ? -100 : some_label(k, vocabulary); });
      CHECK(compared(*job.whole, run_whole(*whole.whole, batch), run_parts(job, batch)) == "");
    }
  }
  fs::remove(file);
}

TEST_CASE("the loss is the mean cross-entropy of the labels that count, shifted by one") {
  for (const std::string name : {"opt-tiny", "opt-tiny-past", "gpt2-tiny", "llama-tiny-dynamo", "origin-tiny"}) {
    const Case c = case_of(name);
    const Job job = must(make_job(training(c, "tensor=5")));
    for (const int which : {0, 1, 2}) {
      CAPTURE(name);
      CAPTURE(which);
      // All labels, some, one alone: the last token of the first row, which is the label of the one before it.
      Batch batch =
          batch_of(c, job, [&](int64_t k, int64_t v) { return which == 0 ? (k * 31) % v : some_label(k, v); });
      Array& labels = batch.arrays["labels"];
      const int64_t rows = labels.dims[0], columns = labels.dims[1];
      if (which == 2) {
        std::fill(labels.i.begin(), labels.i.end(), -100);
        labels.i[size_t(columns - 1)] = 7;
        labels.i[0] = 3;  // the first has no token before it: it never counts
      }
      const Array logits = run_whole(*job.imported, batch).find("logits")->second;
      const int64_t vocabulary = logits.dims[2];
      double sum = 0;
      int64_t count = 0;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t t = 0; t + 1 < columns; ++t) {
          const int64_t label = labels.i[size_t(r * columns + t + 1)];
          if (label == -100) continue;
          const double* z = logits.f.data() + (r * columns + t) * vocabulary;
          const double most = *std::max_element(z, z + vocabulary);
          double total = 0;
          for (int64_t v = 0; v < vocabulary; ++v) total += std::exp(z[v] - most);
          sum += std::log(total) + most - z[label];
          ++count;
        }
      CHECK(count == (which == 0 ? rows * (columns - 1) : which == 2 ? 1 : count));
      const NamedArrays parts = run_parts(job, batch);
      CHECK(parts.find("loss")->second.f[0] == doctest::Approx(sum / double(count)).epsilon(1e-9));
      for (const auto& [output, a] : parts)
        CHECK_MESSAGE(llvm::all_of(a.f, [](double x) { return std::isfinite(x); }), output);
    }
  }
}

TEST_CASE("where no label counts the loss is NaN and gradients are 0, as PyTorch has them, also over micro-batches") {
  const Case c = case_of("opt-tiny");
  for (const std::string mesh : {"tensor=1", "tensor=2", "tensor=3", "data=2, tensor=2"})
    for (const int64_t accumulate : {1, 2}) {
      CAPTURE(mesh);
      CAPTURE(accumulate);
      JobOptions o = training(c, mesh);
      o.training.accumulate = accumulate;
      o.training.max_gradient_norm = 1;
      const Job job = must(make_job(o));
      const Batch batch = batch_of(c, job, [](int64_t, int64_t) { return -100; });
      const NamedArrays whole = run_whole(*job.whole, batch);
      CHECK(std::isnan(whole.find("loss")->second.f[0]));
      for (const GradientOutput& g : job.whole->gradients)
        CHECK_MESSAGE(largest(whole.find(g.output)->second) == 0, g.output);
      for (const Update& u : job.whole->updates)
        if (u.kind.of == UpdateKind::parameter)
          CHECK_MESSAGE(whole.find(u.output)->second.f == to_array(*job.whole->find(u.input)->data).f, u.input);
      const NamedArrays parts = run_parts(job, batch);
      for (const GradientOutput& g : job.whole->gradients)
        CHECK_MESSAGE(largest(parts.find(g.output)->second) == 0, g.output);
    }
}

TEST_CASE("logits are what is named so, or as wide as the ids' table beside ids; hidden states are none") {
  // ids [b, s] choose rows of a table [11, 4]; outputs are made of what is found.
  auto logits = [](const std::string& name, int64_t width, bool with_ids,
                   const char* ids_name = "tokens") -> std::string {
    Graph graph;
    graph.source = "m.onnx";
    Builder build(graph);
    const Dims tokens{Dim::symbol("b"), Dim::symbol("s")};
    Array table, head;
    table.resize(true, {11, 4}), head.resize(true, {4, width});
    Value* x = &graph.add_input("x", {DType::f32, {tokens[0], tokens[1], 4}});
    if (with_ids)
      x = must(build.create(
          "gather",
          {&graph.add_data("table", to_tensor(table, DType::f32)), &graph.add_input(ids_name, {DType::i64, tokens})},
          {{"axis", int64_t(0)}}));
    Value* y = must(build.create("contract", {x, &graph.add_data("head", to_tensor(head, DType::f32))},
                                 {{"loops", contract_loops("b s h, h v -> b s v")}}));
    graph.outputs.push_back({name, y});
    return find_logits(graph) == y ? "yes" : "no";
  };
  CHECK(logits("logits", 11, true) == "yes");
  CHECK(logits("logits", 4, false) == "yes");  // by its name, beside embeddings
  CHECK(logits("y", 11, true) == "yes");
  CHECK(logits("y", 16, true) == "yes");  // padded
  CHECK(logits("y", 4, true) == "no");    // last_hidden_state
  CHECK(logits("y", 11, false) == "no");
  CHECK(logits("y", 11, true, "position_ids") == "no");
}

TEST_CASE("training in float64 is refused by the parameter's name before anything is made") {
  Graph graph;
  graph.source = "m.onnx";
  Array w;
  w.resize(true, {3, 4});
  Value& parameter = graph.add_data("w", to_tensor(w, DType::f64));
  parameter.is_parameter = true;
  CHECK(llvm::toString(choose_trained(graph, {}))
            .find("m.onnx: parameter 'w': dtype: training is not supported in float64: expected float32, float16 or "
                  "bfloat16, found float64") == 0);
}

TEST_CASE("a frozen parameter stays as it is, without gradient or state, and the others' gradients do not change") {
  const Case c = case_of("opt-tiny");
  const Job all = must(make_job(training(c, "tensor=2")));
  const Batch batch = batch_of(c, all, some_label);
  const NamedArrays expected = run_whole(*all.whole, batch);
  auto trained = [](const Job& job) {
    std::set<std::string> out;
    for (const GradientOutput& g : job.whole->gradients) out.insert(g.parameter);
    return out;
  };
  const std::set<std::string> every = trained(all);

  JobOptions o = training(c, "tensor=2");
  o.training.freeze = {"*embed_tokens*", "*.layers.0.*"};
  const Job some = must(make_job(o));
  for (const std::string& p : every) {
    // By the file's name or the model's: onnx::MatMul_12 is a weight of a layer, too.
    const std::string names = p + " " + all.whole->find(p)->model_name;
    const bool frozen =
        names.find("embed_tokens") != std::string::npos || names.find(".layers.0.") != std::string::npos;
    CAPTURE(names);
    CHECK(trained(some).count(p) == (frozen ? 0 : 1));
    CHECK((some.whole->find(p + ".exp_avg") != nullptr) == !frozen);
  }
  const NamedArrays parts = run_parts(some, batch_of(c, some, some_label));
  for (const auto& [name, a] : parts) {
    CAPTURE(name);
    REQUIRE(expected.count(name) == 1);
    const Array& e = expected.find(name)->second;
    double most = 0;
    for (size_t k = 0; k < a.f.size(); ++k) most = std::max(most, std::abs(a.f[k] - e.f[k]));
    CHECK(most <= 1e-9 * std::max(1e-3, largest(e)));
  }

  // Of names that are one parameter each is as good as the other.
  const Value* table = all.whole->find("m.model.decoder.embed_tokens.weight");
  REQUIRE(table);
  REQUIRE(table->aliases.size() == 1);
  o.training.freeze = {table->aliases[0]};
  CHECK(trained(must(make_job(o))).count(table->name) == 0);

  // --trainable: these alone; freeze wins. No gradient reaches below the lowest of them.
  o.training.freeze = {"*.bias"};
  o.training.trainable = {"*decoder.final_layer_norm*"};
  const Job last = must(make_job(o));
  CHECK(trained(last) == std::set<std::string>{"m.model.decoder.final_layer_norm.weight"});
  Counts where = collectives(*last.spmd);
  CHECK(where["backward all_reduce sum"] == 0);
  CHECK(where["backward all_reduce sum of weights"] == 1);
}

TEST_CASE("patterns that match nothing or leave nothing, and models without logits, are refused with a reason") {
  const Case c = case_of("opt-tiny");
  JobOptions o = training(c, "tensor=2");
  o.training.freeze = {"*.nothing"};
  CHECK(refused(o) == "--freeze '*.nothing': matches no parameter");
  o.training.freeze = {"*"};
  CHECK(refused(o).find("no parameter is left to train") != std::string::npos);
  o.training.freeze = {"[z"};
  CHECK(refused(o).rfind("--freeze '[z': ", 0) == 0);
  o.training.freeze.clear();
  o.training.trainable = {"*layers.9*"};
  CHECK(refused(o).find("--trainable '*layers.9*': matches no parameter; nearest is ") == 0);

  Graph g;
  Builder build(g);
  g.source = "m.onnx";
  Value& x = g.add_input("x", {DType::f32, {2, 3}});
  g.outputs.push_back({"y", must(build.create("relu", {&x}, {}, "y"))});
  auto loss = build_loss(g, /*undivided=*/false);
  REQUIRE(!loss);
  CHECK(llvm::toString(loss.takeError()) ==
        "m.onnx: no output of shape [batch, sequence, vocabulary] to train on: expected one of the name 'logits'; no "
        "input of token ids says a vocabulary; found 'y' [2, 3]");
}

TEST_CASE("half-precision parameters are trained as float32 masters, with state like them") {
  for (const std::string name : {"opt-tiny-fp16", "opt-tiny-bf16"}) {
    const Job job = must(make_job(training(case_of(name), "tensor=2")));
    for (const Update& u : job.whole->updates) {
      if (u.kind.of == UpdateKind::step) continue;
      CAPTURE(u.input);
      CHECK(job.whole->find(u.input)->type.dtype == DType::f32);
    }
    for (const GraphOutput& o : job.whole->outputs)
      if (o.name != "step.next") CHECK(o.value->type.dtype == DType::f32);
  }
}
