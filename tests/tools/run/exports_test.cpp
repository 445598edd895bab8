// Real exports, end to end in float64: counts of parameters and collectives, and every rank's logits against PyTorch's.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "frontend/io/input_folder.h"
#include "frontend/io/json.h"
#include "frontend/io/npy.h"
#include "frontend/ir/op.h"
#include "passes/plan/job.h"
#include "passes/plan/make_plan.h"
#include "runtime/reference.h"
#include "tests/must.h"
#include "tools/run/inputs.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
struct Case {
  std::string name, folder;
  int64_t parameters, layers;
  bool tied, post_norm_projected, stripped;
  int64_t sums_a_layer;  // 1: attention and MLP are side by side; 3: queries and keys are normalised over all heads
  bool norms_last;       // of a block: the first one's queries, keys and values are made of the embedding itself
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
    out.push_back({o.getString("name")->str(), folder, *o.getInteger("parameters"),
                   config.getInteger("num_hidden_layers") ? *config.getInteger("num_hidden_layers")
                                                          : *config.getInteger("n_layer"),
                   *o.getBoolean("tied"), config.getBoolean("do_layer_norm_before") == false, *o.getBoolean("strip"),
                   family == "GPTNeoX" ? 1
                   : family == "Olmo2" ? 3
                                       : 2,
                   family == "Olmo2"});
  }
  std::sort(out.begin(), out.end(), [](const Case& a, const Case& b) { return a.name < b.name; });
  return out;
}
Job job_of(const Case& c, int64_t devices, const char* strategy) {
  JobOptions o;
  o.model = c.folder + "/model.onnx";
  o.devices = devices;
  o.strategy = strategy;
  return must(make_job(o));
}
int64_t count(const Graph& g, llvm::StringRef op) {
  int64_t n = 0;
  for (const auto& node : g.nodes) n += node->op->name == op;
  return n;
}
}  // namespace

TEST_CASE("parameters are counted exactly, and collectives are as few as the strategy's formula") {
  for (const Case& c : cases()) {
    for (const char* strategy : {"megatron", "origin"}) {
      CAPTURE(c.name);
      CAPTURE(strategy);
      Job job = job_of(c, 2, strategy);
      int64_t elements = 0;
      for (const Value* v : job.whole->data())
        if (v->is_parameter) elements += v->data->elements();
      CHECK(elements == c.parameters);
      const int64_t reduces = count(*job.spmd, "all_reduce"), gathers = count(*job.spmd, "all_gather");
      if (std::string(strategy) == "megatron") {
        CHECK(reduces == c.sums_a_layer * c.layers + 1);
        CHECK(gathers == 1);
      } else if (c.post_norm_projected) {
        CHECK(reduces == c.layers + 2);
        CHECK(gathers == 0);
      } else if (c.tied) {
        CHECK(reduces == c.layers + 1);
        CHECK(gathers == 1);
      } else {
        CHECK(reduces == c.layers + (c.norms_last ? 3 : 0));
        CHECK(gathers == 2);
      }
    }
  }
}

TEST_CASE("every rank computes PyTorch's logits, on any number of devices") {
  for (const Case& c : cases()) {
    if (c.stripped) continue;
    for (const char* strategy : {"megatron", "origin"})
      for (int64_t devices : {1, 2, 3, 5, 8}) {
        CAPTURE(c.name);
        CAPTURE(strategy);
        CAPTURE(devices);
        Job job = job_of(c, devices, strategy);
        for (const char* suffix : {"", ".2", ".3"}) {
          const std::string inputs = c.folder + "/inputs" + suffix;
          if (!fs::exists(inputs)) continue;
          CAPTURE(suffix);
          NamedArrays whole;
          Shapes shapes;
          for (const Value* v : job.imported->inputs) {
            whole[v->name] = to_array(must(read_npy(inputs + "/" + v->name + ".npy")));
            shapes[v->name].assign(whole[v->name].dims.begin(), whole[v->name].dims.end());
          }
          const DimValues dims = must(bind_input_dims(*job.imported, shapes));
          std::vector<std::unique_ptr<Graph>> bound;
          std::vector<const Graph*> ranks;
          std::vector<NamedArrays> rank_inputs;
          for (int64_t r = 0; r < devices; ++r) {
            bound.push_back(must(bind_dims(*job.ranks[size_t(r)], dims)));
            ranks.push_back(bound.back().get());
            NamedArrays mine;
            for (const Value* v : ranks.back()->inputs)
              mine[v->name] = take(Shard::of(whole[v->name].dims, *v->sharding, job.whole->mesh, r), whole[v->name]);
            rank_inputs.push_back(std::move(mine));
          }
          auto results = must(run_reference(ranks, rank_inputs));
          std::string golden = c.folder + "/golden/exact/logits" + suffix + ".npy";
          const Array expected = to_array(must(read_npy(golden)));
          double top = 1;
          for (double x : expected.f)
            if (std::isfinite(x)) top = std::max(top, std::fabs(x));
          for (int64_t r = 0; r < devices; ++r) {
            const Array& found = results[size_t(r)]["logits"];
            REQUIRE(found.dims == expected.dims);
            double most = 0;
            for (size_t k = 0; k < expected.f.size(); ++k)
              if (!std::isnan(expected.f[k]))
                most = std::max(most, std::isnan(found.f[k]) ? INFINITY : std::fabs(found.f[k] - expected.f[k]));
            // Constants in the files are float32 (half in half models), which bounds how near the float64 truth can be.
            CHECK(most / top <= (c.name.find("16") != std::string::npos ? 1e-4 : 1e-6));
          }
        }
      }
  }
}

TEST_CASE("the origin model's table, MLP and head are cut into the shapes its users know") {
  for (const Case& c : cases()) {
    if (c.name != "origin-125m-structure") continue;
    Job job = job_of(c, 2, "origin");
    std::map<std::string, int> local;
    for (const Value* v : job.whole->data()) {
      if (!v->is_parameter || v->sharding->is_replicated()) continue;
      Dims dims = local_dims(v->type.dims, *v->sharding);
      for (Dim& d : dims) d = bind_rank(d, job.whole->mesh, 0);
      ++local[to_string(v->type.dims) + " -> " + to_string(dims)];
    }
    CHECK(local["[50257, 768] -> [50257, 384]"] == 1);
    CHECK(local["[768, 3072] -> [768, 1536]"] + local["[3072, 768] -> [1536, 768]"] == 24);
    CHECK(local["[768, 50257] -> [768, 25129]"] == 1);
    CHECK(job.whole->data().size() > 0);
  }
}
