// From a Model to a Graph of core ops: each node is lowered by its row, calls and branches are expanded in place.
#pragma once
#include <memory>

#include "frontend/ir/graph.h"
#include "frontend/onnx/model.h"

namespace optp {

// What import learns from one try to the next: extents that turned out to be equal, or at most another, and which may
// be 0.
struct Solved {
  std::map<std::string, Dim, std::less<>> dims;
  std::vector<Guard> guards;
  std::vector<std::pair<Dim, Dim>> orders = {};  // the first is at most the second
  DimBounds bounds;
};
class GraphBuilder {
 public:
  GraphBuilder(Model& model, InputFolder& folder, const Limits& limits);
  ~GraphBuilder();
  // Fails with a DimClash where two named extents must be equal.
  llvm::Expected<std::unique_ptr<Graph>> build(Solved& solved);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the file says of values against what they are. Errors where it can't mean this graph; of stale and contradicting
// shapes a sentence each: writers leave them behind, and nothing is computed from them.
llvm::Expected<std::vector<std::string>> compare_said(const onnx::GraphProto& graph,
                                                      const llvm::StringMap<Value*>& values);

}  // namespace optp
