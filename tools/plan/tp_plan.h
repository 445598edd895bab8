// A plan in the words of Hugging Face's tensor-parallel plans.
#pragma once
#include <string>

#include "passes/plan/plan.h"

namespace optp {
// A JSON object from modules, layers' numbers as *, to colwise, rowwise …, one a line; --tp-plan reads it.
std::string tp_plan_text(const Plan& plan);
}  // namespace optp
