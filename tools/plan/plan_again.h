// Plans that nobody wrote: a plan's job once more, or that of a model alone.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "passes/passes.h"
#include "passes/plan/asked_dims.h"
#include "passes/plan/plan.h"

namespace optp {
// On another mesh, or with constraints after the plan's own. Its numbers are at the plan's dims. `model`: empty: the
// file that the plan names, here.
llvm::Expected<Plan> plan_again(const Plan& plan, const std::string& model, const Mesh& mesh,
                                llvm::ArrayRef<Constraint> constraints = {});
// The same as a decoder with caches of keys and values, as generate makes it of the model, for as many tokens as the
// plan's sequence has. Errors: the model is no decoder.
llvm::Expected<Plan> decoder_again(const Plan& plan, const std::string& model, const Mesh& mesh);
struct PlannedModel {
  std::string model;
  std::optional<int64_t> devices;  // 2 where it is not said
  AskedDims dims;
};
llvm::Expected<Plan> plan_of_model(const PlannedModel& options);
// The same mesh with so many devices along the axis that the strategy cuts over.
Mesh with_devices(const Mesh& mesh, int64_t along_strategy);
}  // namespace optp
