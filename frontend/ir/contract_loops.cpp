#include "frontend/ir/contract_loops.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
std::vector<std::string> words(llvm::StringRef text) {
  llvm::SmallVector<llvm::StringRef, 6> parts;
  text.split(parts, ' ', -1, false);
  std::vector<std::string> out;
  for (llvm::StringRef p : parts) out.push_back(p.str());
  return out;
}
}  // namespace

llvm::Expected<ContractLoops> parse_contract(llvm::StringRef text) {
  auto [left, right] = text.split("->");
  auto [a, b] = left.split(',');
  ContractLoops loops{{words(a), words(b)}, words(right)};
  if (text.count("->") != 1 || left.count(',') != 1) return error(Code::bug).what("contract loops " + quoted(text));
  return loops;
}
std::string to_string(const ContractLoops& loops) {
  return llvm::join(loops.operands[0], " ") + ", " + llvm::join(loops.operands[1], " ") + " -> " +
         llvm::join(loops.result, " ");
}

}  // namespace optp
