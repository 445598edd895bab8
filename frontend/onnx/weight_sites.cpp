#include "frontend/onnx/weight_sites.h"

#include <onnx/onnx_pb.h>

#include "frontend/onnx/replace_weights.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
WeightSites::WeightSites(onnx::ModelProto& model)
    : graph_(*model.mutable_graph()), initializers_are_inputs_(model.ir_version() < 4) {
  for (int k = 0; k < graph_.initializer_size(); ++k) initializers_[graph_.initializer(k).name()] = k;
  for (int k = 0; k < graph_.node_size(); ++k) {
    const auto& n = graph_.node(k);
    by_name_[n.name().empty() && n.output_size() ? n.output(0) : n.name()].push_back(k);
    for (const auto& o : n.output()) by_output_[o] = k;
    for (const auto& i : n.input())
      if (!i.empty()) ++uses_[i];
  }
}

bool WeightSites::make_initializer(const std::string& name) {
  return take_constant(name) || take_identity(name) || take_input(name);
}

// The initializer that a chain of Identity nodes gives the name `name`, or -1.
int WeightSites::source_of(const std::string& name) const {
  std::string at = name;
  for (size_t k = 0; k <= by_output_.size(); ++k) {
    if (auto it = initializers_.find(at); it != initializers_.end()) return it->second;
    auto producer = by_output_.find(at);
    if (producer == by_output_.end()) return -1;
    const auto& n = graph_.node(producer->second);
    if (n.op_type() != "Identity" || n.input_size() != 1) return -1;
    at = n.input(0);
  }
  return -1;
}
bool WeightSites::is_identity_of(const std::string& alias, const NewWeight& w) const {
  const int source = source_of(alias);
  if (source < 0 || llvm::is_contained(w.transposed_aliases, alias)) return false;
  const std::string& name = graph_.initializer(source).name();
  return name == w.name || (llvm::is_contained(w.aliases, name) && !llvm::is_contained(w.transposed_aliases, name));
}
// A weight that stands in a Constant node: an initializer takes the node's place.
bool WeightSites::take_constant(const std::string& name) {
  const auto producer = by_output_.find(name);
  if (producer == by_output_.end()) return false;
  const auto& n = graph_.node(producer->second);
  if (n.op_type() != "Constant") return false;
  for (const auto& a : n.attribute()) {
    if (a.name() != "value" || !a.has_t()) continue;
    removed_.insert(producer->second);
    add_initializer(name, a.t());
    return true;
  }
  return false;
}
bool WeightSites::take_identity(const std::string& name) {
  const int source = source_of(name);
  if (source < 0) return false;
  removed_.insert(by_output_.lookup(name));
  add_initializer(name, graph_.initializer(source));
  return true;
}

// NODE.weight and NODE.bias: the input of that node, or of the one of that output.
bool WeightSites::take_input(const std::string& name) {
  const auto [place, what] = llvm::StringRef(name).rsplit('.');
  if (what != "weight" && what != "bias") return false;
  llvm::SmallVector<int, 2> nodes;
  if (auto it = by_name_.find(place); it != by_name_.end()) nodes.assign(it->second.begin(), it->second.end());
  if (auto it = by_output_.find(place); it != by_output_.end() && !llvm::is_contained(nodes, it->second))
    nodes.push_back(it->second);
  if (nodes.size() != 1) return false;
  auto& n = *graph_.mutable_node(nodes[0]);
  if (n.op_type() == "Gemm" && what == "bias" && (n.input_size() == 2 || n.input(2).empty())) return add_bias(n, name);
  const int found = input_of(n, what == "weight");
  if (found < 0) return false;
  add_initializer(name, graph_.initializer(source_of(n.input(found))));
  n.set_input(found, name);
  return true;
}
// The one input that is the node's own weight or bias, or -1.
int WeightSites::input_of(const onnx::NodeProto& n, bool is_weight) const {
  const bool norm = llvm::StringRef(n.op_type()).contains("Normalization");
  int found = -1;
  for (int k = 0; k < n.input_size(); ++k) {
    if (source_of(n.input(k)) < 0) continue;
    if (norm ? k != (is_weight ? 1 : 2) : uses_.lookup(n.input(k)) < 2) continue;
    if (n.op_type() == "Gemm" && k != (is_weight ? 1 : 2)) continue;
    if (found >= 0) return -1;
    found = k;
  }
  return found;
}
bool WeightSites::add_bias(onnx::NodeProto& n, const std::string& name) {
  bool turned = false;
  for (const auto& a : n.attribute()) {
    if (a.name() == "beta" && a.f() != 1) return false;
    if (a.name() == "transB") turned = a.i() != 0;
  }
  const int weight = source_of(n.input(1));
  if (weight < 0 || graph_.initializer(weight).dims_size() != 2) return false;
  onnx::TensorProto like;
  like.set_data_type(graph_.initializer(weight).data_type());
  like.add_dims(graph_.initializer(weight).dims(turned ? 0 : 1));
  add_initializer(name, like);
  if (n.input_size() == 2)
    n.add_input(name);
  else
    n.set_input(2, name);
  return true;
}
void WeightSites::add_initializer(const std::string& name, const onnx::TensorProto& like) {
  onnx::TensorProto made;
  made.set_name(name);
  made.set_data_type(like.data_type());
  *made.mutable_dims() = like.dims();
  initializers_[name] = graph_.initializer_size();
  *graph_.add_initializer() = made;
  if (!initializers_are_inputs_) return;
  auto& input = *graph_.add_input();
  input.set_name(name);
  auto& type = *input.mutable_type()->mutable_tensor_type();
  type.set_elem_type(made.data_type());
  for (int64_t d : made.dims()) type.mutable_shape()->add_dim()->set_dim_value(d);
}
void WeightSites::drop_removed_nodes() {
  auto& nodes = *graph_.mutable_node();
  int kept = 0;
  for (int k = 0; k < nodes.size(); ++k)
    if (!removed_.contains(k)) {
      if (kept != k) nodes.SwapElements(kept, k);
      ++kept;
    }
  nodes.DeleteSubrange(kept, nodes.size() - kept);
}
}  // namespace optp
