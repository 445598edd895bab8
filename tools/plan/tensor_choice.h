// Which tensors of a plan a user means: by a name, a pattern (* and ?), a layer's number.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"
#include "passes/plan/plan.h"

namespace optp {

struct TensorChoice {
  std::string name;                   // a name, an alias or a pattern of them; empty: any parameter
  std::optional<int64_t> layer = {};  // of that layer alone
  bool may_mean_several = false;      // also a name that is no pattern, of no one layer
};
// In the plan's order. Errors: tensor_not_found, with the nearest name; bad_value for several of which one was to be
// chosen.
llvm::Expected<std::vector<FoundTensor>> choose_tensors(const Plan& plan, const TensorChoice& choice);
// Their entries as in plan.json, each with its layout in place of the layout's number and with the member of the plan
// that it is of as its kind (docs/tensor.schema.json).
std::string tensors_json(const Plan& plan, llvm::ArrayRef<FoundTensor> tensors);

}  // namespace optp
