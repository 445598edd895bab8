// What is emitted is what is run: ranks read back from their files give, bit for bit, what the graphs that were checked
// give in memory.
#include <cmath>
#include <functional>

#include "frontend/io/npy.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/op.h"
#include "frontend/onnx/export.h"
#include "passes/plan/job.h"
#include "passes/plan/make_plan.h"
#include "runtime/comm/thread_communicator.h"
#include "tests/must.h"
#include "tests/tools/program.h"
#include "tools/run/execution.h"
#include "tools/run/run.h"
#include "tools/run/stepper.h"

using namespace optp;

namespace {
struct Case {
  std::string name, model, inputs;
};
// Exports with their weights: the small ones.
std::vector<Case> cases() {
  std::vector<Case> out;
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports")) {
    const std::string folder = entry.path().string();
    if (folder.find("structure") == std::string::npos)
      out.push_back({entry.path().filename().string(), folder + "/model.onnx", folder + "/inputs"});
  }
  std::sort(out.begin(), out.end(), [](const Case& a, const Case& b) { return a.name < b.name; });
  return out;
}
const Case encoder_decoder{"encoder-decoder", OPTP_TEST_DATA "/encoder-decoder/model.onnx",
                           OPTP_TEST_DATA "/encoder-decoder/inputs"};

// Collectives in the order in which the rank comes to them, without the sums of extents, which a reader knows.
std::vector<std::string> meetings(const Graph& graph) {
  std::vector<std::string> out;
  for (const auto& node : graph.nodes)
    if (node->op->collective) out.push_back(node->text("id").str());
  return out;
}
std::vector<std::unique_ptr<Graph>> clones(const std::vector<std::unique_ptr<Graph>>& graphs) {
  std::vector<std::unique_ptr<Graph>> out;
  for (const auto& g : graphs) out.push_back(g->clone());
  return out;
}

class Written {
 public:
  Written(const Case& c, int64_t devices, bool train, const std::function<void(JobOptions&)>& settle = {}) {
    JobOptions o;
    o.model = c.model;
    o.devices = devices;
    o.train = train;
    o.training.optimizer.name = "adamw";
    o.training.max_gradient_norm = 0.5;  // a sum over all ranks
    if (settle) settle(o);
    job_ = must(make_job(o));
    {
      auto out = must(OutputTransaction::begin(box_ / "out"));
      for (size_t r = 0; r < job_.ranks.size(); ++r)
        must(write_rank_model(*job_.ranks[r], out, "rank" + std::to_string(r),
                              {.metadata = {{"rank", std::to_string(r)}}}));
      must(out.commit());
    }
    for (size_t r = 0; r < job_.ranks.size(); ++r) {
      read_.push_back(must(read_rank(box_ / ("out/rank" + std::to_string(r) + "/model.onnx"))));
      read_.back()->updates = job_.ranks[r]->updates;
      read_.back()->gradients = job_.ranks[r]->gradients;
      CHECK(meetings(*read_.back()) == meetings(*job_.ranks[r]));
      CHECK(meetings(*read_.back()) == meetings(*read_.front()));
    }
    const Plan plan = make_plan(job_, example_dims(*job_.whole, {}), "", true);
    for (const Port& p : plan.inputs)
      if (p.role == Plan::Role::data || p.role == Plan::Role::labels) inputs_.push_back(p);
    std::vector<std::string> given;
    if (train) given = {"labels=ones"};
    batch_ = must(read_batch(given, {}, c.inputs, inputs_));
    shards_ = must(take_shards(batch_, inputs_, ThreadWorld(job_.ranks.size()).held()));
  }

  PerRank<HostArrays> run(const std::vector<std::unique_ptr<Graph>>& graphs) const {
    std::vector<std::unique_ptr<Graph>> bound;
    std::vector<const Graph*> ranks;
    for (const auto& g : graphs) {
      bound.push_back(must(bind_dims(*g, batch_.dims)));
      ranks.push_back(bound.back().get());
    }
    ThreadWorld world(ranks.size());
    return must(execute(world, PerRank<const Graph*>::of_all(ranks), shards_, {.threads_per_device = 1}));
  }
  // Two steps; what each rank then holds, and its last gradients.
  PerRank<HostArrays> train(const std::vector<std::unique_ptr<Graph>>& graphs) const {
    ThreadWorld world(graphs.size());
    auto stepper = must(Stepper::create(world, PerRank<std::unique_ptr<Graph>>::of_all(clones(graphs)),
                                        {.threads_per_device = 1, .gradients = true}));
    for (int step = 0; step < 2; ++step) must(stepper->step(batch_.dims, shards_, 1e-2));
    PerRank<HostArrays> out(world.held());
    for (size_t r = 0; r < graphs.size(); ++r) {
      out[r] = stepper->values(r);
      for (const GradientOutput& g : graphs[r]->gradients)
        if (const HostArray* array = stepper->gradient(r, g.output)) out[r][g.output] = *array;
    }
    return out;
  }

  const Job& job() const { return job_; }
  const std::vector<std::unique_ptr<Graph>>& read() const { return read_; }

 private:
  Sandbox box_;
  Job job_;
  std::vector<std::unique_ptr<Graph>> read_;
  std::vector<Port> inputs_;
  Batch batch_;
  PerRank<HostArrays> shards_;
};
void check_same(const PerRank<HostArrays>& memory, const PerRank<HostArrays>& files) {
  REQUIRE(memory.size() == files.size());
  for (size_t r = 0; r < memory.size(); ++r) {
    REQUIRE(memory[r].size() == files[r].size());
    for (const auto& [name, array] : memory[r]) {
      CAPTURE(r);
      CAPTURE(name);
      auto other = files[r].find(name);
      REQUIRE(other != files[r].end());
      CHECK(other->second.dims == array.dims);
      CHECK(other->second.bytes == array.bytes);
    }
  }
}
// A sanitizer looks at the code that runs, which the number of devices does not change, and is twenty times slower.
std::vector<int64_t> device_counts() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return {5};
#else
  return {1, 2, 3, 5, 8};
#endif
}
void for_every_export(bool train, const std::function<void(const Written&)>& check) {
  std::vector<Case> all = cases();
  all.push_back(encoder_decoder);
  for (const Case& c : all)
    for (int64_t devices : device_counts()) {
      CAPTURE(c.name);
      CAPTURE(devices);
      check(Written(c, devices, train));
    }
}
}  // namespace

TEST_CASE("the files of every export's ranks give what the ranks give in memory, bit for bit") {
  for_every_export(/*train=*/false, [](const Written& w) { check_same(w.run(w.job().ranks), w.run(w.read())); });
}

TEST_CASE("so do the files of training steps: gradients, parameters and state after two steps") {
  for_every_export(/*train=*/true, [](const Written& w) { check_same(w.train(w.job().ranks), w.train(w.read())); });
}

TEST_CASE("so do those of steps that are taken in other ways") {
  struct Way {
    const char* name;
    std::function<void(JobOptions&)> settle;
  };
  const Way ways[] = {
      {"recompute, two chunks", [](JobOptions& o) { o.training.recompute = true, o.training.loss_chunks = 2; }},
      {"sequence parallel, three chunks",
       [](JobOptions& o) { o.sequence_parallel = true, o.training.loss_chunks = 3; }},
      {"eight chunks in bfloat16", [](JobOptions& o) { o.compute = DType::bf16, o.training.loss_chunks = 8; }},
      {"ZeRO 3, five chunks",
       [](JobOptions& o) {
         o.devices.reset();
         o.mesh = Mesh{{{"data", 2}, {"tensor", 2}}};
         o.training.zero = 3, o.training.loss_chunks = 5;
       }},
  };
  for (const Case& c : cases()) {
    if (c.name != "opt-tiny" && c.name != "llama-tiny-dynamo" && c.name != "gpt2-tiny") continue;
    for (const Way& way : ways) {
      CAPTURE(c.name);
      CAPTURE(way.name);
      const Written w(c, 3, /*train=*/true, way.settle);
      check_same(w.train(w.job().ranks), w.train(w.read()));
    }
  }
}

TEST_CASE("a rank without heads comes to every collective, though it uses none of some results") {
  const Written w(encoder_decoder, 5, /*train=*/false);
  size_t unused = 0;
  for (const auto& graph : w.job().ranks) {
    auto clone = graph->clone();
    for (auto& node : clone->nodes) node->attributes.erase("group");  // no longer a rank's: what is dead goes
    clone->erase_dead();
    unused += meetings(*graph).size() - meetings(*clone).size();
  }
  CHECK(unused > 0);  // else this case shows nothing
  check_same(w.run(w.job().ranks), w.run(w.read()));

  const Sandbox box;
  REQUIRE(box.run({encoder_decoder.model, "--devices", "5", "-o", "out"}).code == 0);
  REQUIRE(box.run({"run", "out", "--inputs-dir", encoder_decoder.inputs, "-o", "res"}).code == 0);
  const Array found = to_array(must(read_npy(box / "res/logits.npy")));
  const Array golden = to_array(must(read_npy(OPTP_TEST_DATA "/encoder-decoder/golden/logits.npy")));
  REQUIRE(found.dims == golden.dims);
  double most = 0;
  for (size_t k = 0; k < golden.f.size(); ++k) most = std::max(most, std::abs(found.f[k] - golden.f[k]));
  CHECK(most < 1e-5);  // the parity that check promises of float32
}

TEST_CASE("float16 rank graphs run on any processor, and round an eighth of what bfloat16 does") {
  const Sandbox box;
  for (const char* name : {"opt-tiny", "llama-tiny-dynamo", "gpt2-tiny"}) {
    CAPTURE(name);
    const std::string folder = export_of(name);
    const Array golden = to_array(must(read_npy(folder + "/golden/logits.npy")));
    const auto error_in = [&](const char* compute) {
      REQUIRE(
          box.run({folder + "/model.onnx", "--devices", "3", "--compute", compute, "-o", "out", "--overwrite"}).code ==
          0);
      REQUIRE(box.run({"run", "out", "--inputs-dir", folder + "/inputs", "-o", "res", "--overwrite"}).code == 0);
      const Array found = to_array(must(read_npy(box / "res/logits.npy")));
      REQUIRE(found.dims == golden.dims);
      double error = 0;
      for (size_t k = 0; k < golden.f.size(); ++k) error = std::max(error, std::abs(found.f[k] - golden.f[k]));
      return error;
    };
    const double whole = error_in("f32"), half = error_in("f16"), brain = error_in("bf16");
    CHECK(half > 4 * whole);
    CHECK(half < brain / 4);
  }
}
