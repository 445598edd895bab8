#include "passes/plan/plan.h"

#include "llvm/ADT/STLExtras.h"

namespace optp {

DimValues Plan::examples() const {
  DimValues out;
  for (const auto& [name, info] : dims) out[name] = info.example;
  return out;
}

llvm::StringRef to_string(Plan::Job job) { return job == Plan::Job::training ? "training" : "inference"; }
llvm::StringRef to_string(OutputLayout layout) { return layout == OutputLayout::whole ? "whole" : "sharded"; }
llvm::StringRef to_string(Plan::Role role) {
  switch (role) {
    case Plan::Role::data:
      return "data";
    case Plan::Role::labels:
      return "labels";
    case Plan::Role::learning_rate:
      return "learning_rate";
    case Plan::Role::result:
      return "result";
    case Plan::Role::loss:
      return "loss";
    case Plan::Role::gradient:
      return "gradient";
    case Plan::Role::parameter:
      return "parameter";
    case Plan::Role::state:
      return "state";
    case Plan::Role::step:
      return "step";
    case Plan::Role::accumulated:
      break;
  }
  return "accumulated";
}
void for_each_tensor(const Plan& plan, llvm::function_ref<void(const FoundTensor&)> visit) {
  for (const Plan::Parameter& p : plan.parameters) visit({&p, &p, &p});
  for (const Plan::Constant& c : plan.constants) visit({&c, &c, &c});
  for (const auto* ports : {&plan.inputs, &plan.outputs})
    for (const Plan::Port& p : *ports) visit({&p, &p, nullptr});
  for (const Plan::Value& v : plan.values) visit({&v, nullptr, nullptr});
}
FoundTensor find_tensor(const Plan& plan, llvm::StringRef name) {
  FoundTensor out;
  for_each_tensor(plan, [&](const FoundTensor& t) {
    if (!out && (t.tensor->name == name || (t.data && llvm::is_contained(t.data->aliases, name.str())))) out = t;
  });
  return out;
}
}  // namespace optp
