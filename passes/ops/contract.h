// The loop lists of a contract, shared with the passes and kernels that rewrite or run them.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "frontend/ir/op.h"

namespace optp {

// "b s k, k n -> b s n" as names a dim; "1" is a dim of extent 1 that no loop runs over.
struct ContractLoops {
  std::array<std::vector<std::string>, 2> operands;
  std::vector<std::string> result;
};
llvm::Expected<ContractLoops> parse_contract(llvm::StringRef text);
std::string to_string(const ContractLoops& loops);

}  // namespace optp
