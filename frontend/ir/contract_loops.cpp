#include "frontend/ir/contract_loops.h"

#include <cassert>

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
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

std::optional<ContractLoops> parse_contract(llvm::StringRef text) {
  auto [left, right] = text.split("->");
  auto [a, b] = left.split(',');
  ContractLoops loops{{words(a), words(b)}, words(right)};
  if (left.count(',') != 1 || text.count("->") != 1 || right.contains(',')) return std::nullopt;
  for (const std::string& name : loops.result)
    if (name != "1" && !llvm::is_contained(loops.operands[0], name) && !llvm::is_contained(loops.operands[1], name))
      return std::nullopt;
  return loops;
}
ContractLoops contract_loops(llvm::StringRef text) {
  auto loops = parse_contract(text);
  assert(loops && "the program's own loops");
  return std::move(*loops);
}
std::string to_string(const ContractLoops& loops) {
  return llvm::join(loops.operands[0], " ") + ", " + llvm::join(loops.operands[1], " ") + " -> " +
         llvm::join(loops.result, " ");
}

}  // namespace optp
