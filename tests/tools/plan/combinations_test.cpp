// Whatever settings are combined, a plan is made or refused in words: never an error of our own.
#include <doctest/doctest.h>

#include <random>

#include "frontend/ir/diagnostic.h"
#include "passes/plan/job.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
template <typename T>
const T& one_of(const std::vector<T>& all, std::mt19937& random) {
  return all[random() % all.size()];
}
JobOptions drawn(std::mt19937& random) {
  using Axes = std::vector<MeshAxis>;
  JobOptions o;
  o.model = export_of(one_of<std::string>({"opt-tiny", "gpt2-tiny", "llama-tiny-dynamo", "olmo2-tiny", "phi3-tiny",
                                           "neox-tiny", "bigcode-tiny", "opt350m-tiny", "origin-tiny", "opt-tiny-fp16"},
                                          random)) +
            "/model.onnx";
  o.strategy = one_of<std::string>({"megatron", "origin"}, random);
  o.mesh = Mesh{one_of<Axes>({{{"tensor", 2}},
                              {{"tensor", 3}},
                              {{"tensor", 5}},
                              {{"data", 2}, {"tensor", 2}},
                              {{"data", 3}, {"tensor", 2}},
                              {{"data", 2}}},
                             random)};
  o.compute = one_of<DType>({DType::f32, DType::bf16}, random);
  o.sequence_parallel = random() % 2 && o.mesh->find("tensor");
  o.train = random() % 4 != 0;
  if (o.train) {
    TrainingOptions& t = o.training;
    t.zero = o.mesh->find("data") ? int64_t(random() % 4) : 0;
    t.loss_chunks = one_of<int64_t>({0, 0, 2, 3}, random);
    t.accumulate = one_of<int64_t>({1, 1, 2}, random);
    t.recompute = random() % 2;
    if (random() % 2) t.max_gradient_norm = 0.5;
    t.optimizer.name = one_of<std::string>({"sgd", "adam", "adamw", "rmsprop"}, random);
  } else if (random() % 2) {
    o.kv_cache = Dim::symbol("capacity");
    o.last_logits = random() % 2;
  }
  return o;
}
std::string text_of(const JobOptions& o) {
  const TrainingOptions& t = o.training;
  return o.model + " " + o.strategy + " " + to_string(*o.mesh) + " " + to_string(o.compute).str() +
         (o.sequence_parallel ? " sequence-parallel" : "") + (o.train ? " train" : "") +
         (o.kv_cache ? " kv-cache" : "") + (o.last_logits ? " last-logits" : "") + " zero " + std::to_string(t.zero) +
         " chunks " + std::to_string(t.loss_chunks) + " accumulate " + std::to_string(t.accumulate) +
         (t.recompute ? " recompute" : "") + (t.max_gradient_norm > 0 ? " clip " : " ") + t.optimizer.name;
}
}  // namespace

TEST_CASE("settings in any combination make a plan, or are refused for what they are") {
  constexpr unsigned seed = 606;
  std::mt19937 random(seed);
  int made = 0;
  for (int k = 0; k < 150; ++k) {
    const JobOptions o = drawn(random);
    CAPTURE(text_of(o));
    auto job = make_job(o);
    if (job) {
      ++made;
      continue;
    }
    const Diagnostic why = take_diagnostic(job.takeError());
    CAPTURE(why.message());
    CHECK(why.code() != Code::bug);
  }
  MESSAGE(made << " of 150 combinations of seed " << seed << " are plans");
  CHECK(made > 100);  // else this shows little
}
