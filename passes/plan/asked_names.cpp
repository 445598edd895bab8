#include "passes/plan/asked_names.h"

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
llvm::Error check_asked_names(llvm::StringRef what, llvm::ArrayRef<std::string> known, const DimValues& asked) {
  for (const auto& [name, extent] : asked)
    if (!llvm::is_contained(known, name))
      return error(Code::bad_value)
          .flag("--dim", quoted(name + "=" + std::to_string(extent)))
          .what("the " + what + " has no such dim")
          .hint("it has " + (known.empty() ? "none" : llvm::join(known, ", ")));
  return llvm::Error::success();
}
}  // namespace optp
