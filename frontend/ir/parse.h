// Reads what print writes: docs/ir.md has the grammar. What a person writes may be shorter: a result without a type
// gets the one its op infers, an operand that nothing declared but that has a type is an input, data without numbers
// have them missing.
#pragma once
#include <memory>

#include "frontend/ir/graph.h"

namespace optp {
// `place`: the file, for messages, which name line and column.
llvm::Expected<std::unique_ptr<Graph>> parse_graph(llvm::StringRef text, llvm::StringRef place);
}  // namespace optp
