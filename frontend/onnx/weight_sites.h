// Where in a model's graph a parameter's bytes go: its initializer, or one that is made for it. An exporter writes a
// tensor once where several parameters are equal (frontend/onnx/README.md, passes/unshare_parameters.cpp): after
// training they are not. Each gets an initializer of its own:
//   Identity(w) -> v              the node goes, v becomes an initializer
//   LayerNormalization(x, w, b)   named n: its input 1 becomes n.weight, or its input 2 n.bias
//   MatMul(a, w), Add(a, b)       named n, of a tensor that others use, too: w becomes n.weight, b n.bias
//   Gemm(a, w) -> y               had a bias of zeros that was dropped: y.bias becomes its input 2
// Nothing else of the graph changes.
#pragma once
#include <string>

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

namespace onnx {
class GraphProto;
class ModelProto;
class NodeProto;
class TensorProto;
}  // namespace onnx

namespace optp {
struct NewWeight;

class WeightSites {
 public:
  explicit WeightSites(onnx::ModelProto& model);

  bool has_initializer(const std::string& name) const { return initializers_.count(name); }
  int initializer(const std::string& name) const { return initializers_.lookup(name); }  // its index; the name has one
  bool make_initializer(const std::string& name);                                        // false: no node takes it
  bool is_identity_of(const std::string& alias, const NewWeight& w) const;               // updated with w
  void drop_removed_nodes();

 private:
  int source_of(const std::string& name) const;
  bool take_constant(const std::string& name);
  bool take_identity(const std::string& name);
  bool take_input(const std::string& name);
  int input_of(const onnx::NodeProto& n, bool is_weight) const;
  bool add_bias(onnx::NodeProto& n, const std::string& name);
  void add_initializer(const std::string& name, const onnx::TensorProto& like);

  onnx::GraphProto& graph_;
  const bool initializers_are_inputs_;  // before IR 4
  llvm::StringMap<int> initializers_, by_output_, uses_;
  llvm::StringMap<llvm::SmallVector<int, 1>> by_name_;
  llvm::DenseSet<int> removed_;
};
}  // namespace optp
