// plan.json: the one place that writes and reads it. docs/plan-schema.md, docs/plan.schema.json.
#pragma once
#include "passes/plan/plan.h"

namespace optp {

constexpr int64_t plan_version = 2;

// One entry of a list a line.
std::string to_text(const Plan& plan);
// These tensors of a plan, each with its layout: docs/tensor.schema.json.
std::string tensors_text(const Plan& plan, llvm::function_ref<bool(const Plan::Tensor&)> is_wanted);
// `name` stands at the start of messages. What is read has passed check_plan. Errors: bad_input, with the path of the
// member that is missing or of another type.
llvm::Expected<Plan> parse_plan(llvm::StringRef name, llvm::StringRef text);
llvm::Expected<Plan> read_plan(llvm::StringRef folder);

}  // namespace optp
