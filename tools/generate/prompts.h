// The texts that generating goes on with: rows of ids.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

using Prompt = std::vector<int64_t>;
// `lists`: "2,100,19", one a row; `file`: a .npy file of integers, [n] or [rows, n], or empty. Rows of a file that are
// shorter are filled with `pad` at their begin or end. Errors: no prompt, an empty one, what is no id.
llvm::Expected<std::vector<Prompt>> read_prompts(const std::vector<std::string>& lists, llvm::StringRef file,
                                                 std::optional<int64_t> pad);
llvm::Expected<Prompt> parse_ids(llvm::StringRef flag, llvm::StringRef text);

}  // namespace optp
