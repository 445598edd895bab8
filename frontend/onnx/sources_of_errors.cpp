// An error names nodes and tensors as the file does: node_MatMul_12, onnx::MatMul_363. What the model's source calls
// them is said beside that, by the module that a node was exported from and the names of the parameters in it.
#include <onnx/onnx_pb.h>

#include <algorithm>

#include "frontend/onnx/schema.h"
#include "frontend/onnx/source_names.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
// The module "layers.0.fc1" of a file whose parameters are called model.layers.0.fc1.bias, or
// model.layers.0.norm.weight, is model.layers.0.fc1: the longest front of its path that a name has, with what stands
// before it there.
std::string spelled(llvm::StringRef path, const onnx::GraphProto& graph) {
  for (llvm::StringRef front = path; !front.empty(); front = front.take_front(front.rfind('.'))) {
    for (const auto& t : graph.initializer()) {
      const llvm::StringRef name = t.name();
      const size_t at = name.find((front + ".").str());
      if (is_generated_name(name) || at == llvm::StringRef::npos || (at > 0 && name[at - 1] != '.')) continue;
      return (name.take_front(at + front.size()) + path.drop_front(front.size())).str();
    }
    if (!front.contains('.')) break;
  }
  return path.str();
}
std::string module_name(const onnx::NodeProto& node, const onnx::GraphProto& graph) {
  const ModulePath module = module_of(node);
  return module.known ? spelled(module.dotted(), graph) : "";
}
bool has_input(const onnx::NodeProto& node, llvm::StringRef name) {
  return llvm::any_of(node.input(), [&](const std::string& i) { return i == name; });
}
// A matrix that one node alone uses, and no other beside it, is its module's weight.
std::string weight_name(llvm::StringRef name, const onnx::GraphProto& graph) {
  const auto initializer = [&](llvm::StringRef wanted) {
    return llvm::find_if(graph.initializer(), [&](const onnx::TensorProto& t) { return t.name() == wanted; });
  };
  const auto weight = initializer(name);
  if (weight == graph.initializer().end() || weight->dims_size() < 2 || !is_float(DType(weight->data_type())))
    return "";
  const onnx::NodeProto* user = nullptr;
  for (const auto& node : graph.node()) {
    if (!has_input(node, name)) continue;
    if (user) return "";
    user = &node;
  }
  if (!user) return "";
  for (const std::string& i : user->input())
    if (const auto other = initializer(i);
        other != weight && other != graph.initializer().end() && other->dims_size() > 1)
      return "";
  const std::string module = module_name(*user, graph);
  return module.empty() ? "" : module + ".weight";
}
}  // namespace

std::string source_of(const Place& place, const onnx::GraphProto& graph) {
  if (place.kind == Place::Kind::tensor) return is_generated_name(place.name) ? weight_name(place.name, graph) : "";
  for (const auto& node : graph.node())
    if (node.name() == place.name || (node.name().empty() && llvm::is_contained(node.output(), place.name)))
      return module_name(node, graph);
  return "";
}
}  // namespace optp
