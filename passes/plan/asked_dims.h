// The extents that a user asks for: --dim and --input-shapes, as they are read and what they say of a graph.
#pragma once
#include <map>
#include <string>

#include "frontend/ir/dim.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace optp {
class Graph;

using InputShapes = std::map<std::string, llvm::SmallVector<int64_t, 4>, std::less<>>;
struct AskedDims {
  DimValues values;
  InputShapes shapes;  // of whole inputs
  bool empty() const { return values.empty() && shapes.empty(); }
};
// NAME=2 and NAME:1x128, several between commas; of one name the last holds. Errors: usage.
llvm::Expected<DimValues> parse_dims(llvm::ArrayRef<std::string> texts);
llvm::Expected<InputShapes> parse_input_shapes(llvm::ArrayRef<std::string> texts);
// The named dims that the asked values and the shapes of the graph's inputs say. Errors: an input that there is not, a
// shape that no run could have.
llvm::Expected<DimValues> asked_dims(const Graph& graph, const AskedDims& asked);
// A name that nothing has is a mistake. `what` is asked: "model" or "plan"; `known`: what may be. Errors: usage, with
// all that may be.
llvm::Error check_asked_names(llvm::StringRef what, llvm::ArrayRef<std::string> known, const DimValues& asked);
}  // namespace optp
