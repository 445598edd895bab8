// JSON that came from a file. LLVM's parser recurses at each bracket, so a megabyte of '[' would overflow the stack:
// the depth is counted first.
#pragma once
#include "frontend/io/limits.h"
#include "frontend/ir/error_codes.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace optp {

// `name` stands at the start of messages.
llvm::Expected<llvm::json::Value> parse_json(llvm::StringRef name, llvm::StringRef text, const Limits& limits = {});
// What an ObjectMapper found, in our words: "plan.json: model.name: expected string".
llvm::Error path_error(Code code, llvm::StringRef name, const llvm::json::Path::Root& root);
// JSON has no word for infinity and what is not a number; LLVM would write "inf" and "nan", which no reader takes.
llvm::json::Value number_or_null(double x);

}  // namespace optp
