// A plan as one HTML page: nothing but the plan and what is given beside it goes in, and the same of both gives the
// same bytes.
#pragma once
#include <string>

#include "passes/plan/plan.h"
#include "tools/check/check_report.h"
#include "tools/plan/fit.h"
#include "tools/plan/plan_diff.h"
#include "tools/run/trace.h"

namespace optp {

// Optional extras shown beside the plan; the page has a section for each that is given.
struct PageEvidence {
  const CheckReport* check = nullptr;
  const Trace* trace = nullptr;
  const Fit* fit = nullptr;
  const PlanDiff* changes = nullptr;  // from another plan to this one
  std::string other;                  // the other's name
};

// Errors: usage where the evidence is of another model, mesh or job.
llvm::Expected<std::string> plan_page(const Plan& plan, const PageEvidence& evidence = {});
// The plan's operations and collectives in Graphviz's language; layers are clusters.
std::string plan_dot(const Plan& plan);

}  // namespace optp
