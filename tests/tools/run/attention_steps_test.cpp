// Attention and its gradient run as one step each in every export that trains, whatever it is written as.
#include <doctest/doctest.h>

#include <filesystem>

#include "frontend/ir/op.h"
#include "passes/passes.h"
#include "passes/plan/job.h"
#include "runtime/executable.h"
#include "tests/must.h"

using namespace optp;
namespace fs = std::filesystem;

namespace {
Job training_job(const std::string& folder, DType compute, bool recompute) {
  JobOptions o;
  o.model = folder + "/model.onnx";
  o.train = true;
  o.compute = compute;
  o.training.recompute = recompute;
  return must(make_job(o));
}
DimValues some_dims(const Graph& graph) {
  DimValues out;
  for (Dim d : named_dims_of(graph)) out[name_of(d)->str()] = out.size() % 2 ? 5 : 3;
  return out;
}
}  // namespace

TEST_CASE("no scores stand between the forward pass and the backward pass of any export") {
  for (const auto& entry : fs::directory_iterator(OPTP_TEST_DATA "/exports"))
    for (const DType compute : {DType::f32, DType::bf16})
      for (const bool recompute : {false, true}) {
        const std::string name = entry.path().filename().string();
        // No logits; no weights; caches, which no step of training has.
        if (name == "bert-tiny" || llvm::StringRef(name).ends_with("structure") || name == "opt-tiny-past") continue;
        CAPTURE(name);
        CAPTURE(to_string(compute).str());
        CAPTURE(recompute);
        const Job job = training_job(entry.path().string(), compute, recompute);
        const int64_t attentions = llvm::count_if(
            job.inference->nodes, [](const auto& n) { return n->op->is(Trait::shares_out) && n->out().ndim() > 2; });
        REQUIRE(attentions > 0);
        const auto graph = must(bind_dims(*job.ranks[0], some_dims(*job.ranks[0])));
        const auto executable = must(Executable::compile(*graph, {}));
        int64_t gradients = 0;
        for (const std::string& step : executable->steps()) {
          const bool multiplies = step.find("contract") != std::string::npos;
          gradients += multiplies && step.find("reduce_sum") != std::string::npos;
          if (step.find("attn") != std::string::npos || step.find("Softmax") != std::string::npos)
            CHECK_MESSAGE((step.find(" softmax") == std::string::npos || multiplies), step);
        }
        CHECK(gradients == attentions);
      }
}
