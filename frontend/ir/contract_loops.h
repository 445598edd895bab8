// The loop lists of a contract, for the op, the passes that rewrite them and the kernels that run them.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// "b s k, k n -> b s n" as names a dim; "1" is a dim of extent 1 that no loop runs over.
struct ContractLoops {
  std::array<std::vector<std::string>, 2> operands;
  std::vector<std::string> result;
};
llvm::Expected<ContractLoops> parse_contract(llvm::StringRef text);
std::string to_string(const ContractLoops& loops);

}  // namespace optp
