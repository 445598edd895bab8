// The loop lists of a contract, for the op, the passes that rewrite them, the kernels that run them and the file
// formats.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"

namespace optp {

// "b s k, k n -> b s n" as names a dim; "1" is a dim of extent 1 that no loop runs over. A node has them as its
// attribute "loops".
struct ContractLoops {
  std::array<std::vector<std::string>, 2> operands;
  std::vector<std::string> result;
  bool operator==(const ContractLoops&) const = default;
};
// Nothing where the text has other lists than these three, or a result's loop that no operand has.
std::optional<ContractLoops> parse_contract(llvm::StringRef text);
ContractLoops contract_loops(llvm::StringRef text);  // of a text that the program itself has
std::string to_string(const ContractLoops& loops);

}  // namespace optp
