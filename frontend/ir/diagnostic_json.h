// A Diagnostic as JSON: for other programs, and whole, to cross a process.
#pragma once
#include "frontend/ir/diagnostic.h"
#include "llvm/Support/JSON.h"

namespace optp {

// What `--diagnostics json` prints; docs/errors.md tells its members.
llvm::json::Object error_object(const Diagnostic& diagnostic, int exit_code);
// All its parts: read back, it has the same message, the same code and the same error_object.
llvm::json::Value write_diagnostic(const Diagnostic& diagnostic);
std::optional<Diagnostic> read_diagnostic(const llvm::json::Value& value);  // none: it is not one that was written

}  // namespace optp
