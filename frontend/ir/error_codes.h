// An error as other programs read it: a stable code, and field by field what its message says of place and cause.
#pragma once
#include <string>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/JSON.h"

namespace optp {

struct ErrorCode {
  const char* code;  // KIND/CAUSE; a code, once released, keeps its meaning
  Fault fault;
  const char* meaning;
};
llvm::ArrayRef<ErrorCode> error_codes();
std::string code_of(Fault fault, llvm::StringRef message);
// Members of what the message does not tell are left out.
llvm::json::Object error_object(Fault fault, int exit_code, llvm::StringRef message);
std::string errors_markdown();  // docs/errors.md

}  // namespace optp
