#include "frontend/onnx/source_names.h"

#include <onnx/onnx_pb.h>

#include <array>
#include <map>

#include "frontend/onnx/lowering.h"
#include "frontend/onnx/schema.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
using Metadata = std::map<std::string, std::string, std::less<>>;
Metadata metadata_of(const onnx::NodeProto& node) {
  Metadata out;
  for (const auto& entry : schema::metadata_of(node)) out[entry.key()] = entry.value();
  return out;
}

// "['', 'm', 'm.block', 'm.block.fc1', 'linear_4']": the modules from the model down, then the operation itself.
std::optional<std::string> module_in_scopes(llvm::StringRef scopes) {
  llvm::SmallVector<llvm::StringRef, 8> names;
  while (true) {
    scopes = scopes.drop_while([](char c) { return c != '\'' && c != '"'; });
    if (scopes.empty()) break;
    const auto [name, rest] = scopes.drop_front().split(scopes.front());
    names.push_back(name);
    scopes = rest;
  }
  // What a rewrite made belongs to no module.
  if (names.size() < 2 || !names.front().empty()) return std::nullopt;
  // A module's second call is "block@1" for some versions.
  std::string out;
  for (llvm::StringRef rest = names[names.size() - 2]; !rest.empty();) {
    const size_t at = rest.find('@');
    out += rest.take_front(at);
    rest = at == llvm::StringRef::npos ? llvm::StringRef() : rest.drop_front(at + 1).drop_while(llvm::isDigit);
  }
  return out;
}
llvm::StringRef without_count(llvm::StringRef name) {
  const llvm::StringRef head = name.rtrim("0123456789");
  return head.size() < name.size() && head.ends_with("_") && head.size() > 1 ? head.drop_back() : name;
}
bool is_operator(llvm::StringRef name) {
  constexpr int64_t newest = 1 << 20;
  return find_lowering(name, "", newest) || find_lowering(name, "com.microsoft", newest) || name.ends_with("Fusion");
}
}  // namespace

ModulePath module_of(const onnx::NodeProto& node) {
  const Metadata metadata = metadata_of(node);
  if (auto scopes = metadata.find("pkg.torch.onnx.name_scopes"); scopes != metadata.end()) {
    if (auto path = module_in_scopes(scopes->second)) return {*path, true, false};
    return {};
  }
  llvm::StringRef path = node.name();
  if (!path.contains('/')) return {};
  // The operator, and what fusions append: /up/MatMul/MatMulAddFusion.
  path = path.take_front(path.rfind('/'));
  while (is_operator(without_count(path.substr(path.rfind('/') + 1))))
    path = path.contains('/') ? path.take_front(path.rfind('/')) : "";
  return {path.str(), true, true};
}

bool is_generated_name(llvm::StringRef name) {
  if (name.contains("::") || name.starts_with("/") || name.contains("_output_") || name.contains("ortshared"))
    return true;
  // PyTorch's parameters of a module have a dot; what was computed at export has its operation's name and a number.
  if (name.contains('.')) return false;
  const llvm::StringRef base = without_count(name).ltrim('_');
  if (base.empty() || llvm::all_of(base, llvm::isDigit)) return true;
  constexpr std::array<llvm::StringLiteral, 24> made = {
      "val",       "const",    "Constant",  "constant",        "initializer",   "ones",
      "zeros",     "full",     "ones_like", "zeros_like",      "full_like",     "new_ones",
      "new_zeros", "new_full", "to_copy",   "lift_fresh_copy", "scalar_tensor", "scalar_tensor_default",
      "arange",    "fill",     "tensor",    "clone",           "detach",        "lifted_tensor"};
  return llvm::is_contained(made, base) || base.ends_with("constant");
}

llvm::StringSet<> buffers_of(const onnx::GraphProto& graph) {
  llvm::StringSet<> out;
  for (const auto& said : graph.value_info())
    for (const auto& entry : schema::metadata_of(said))
      if (entry.key() == "pkg.torch.export.graph_signature.InputSpec.kind" && entry.value() == "BUFFER")
        out.insert(said.name());
  return out;
}

bool drops_zero_bias(const onnx::ModelProto& model) {
  // The exporter that optimises what it writes came with PyTorch 2; the older one writes no such Gemm but with beta =
  // 0.
  int major = 0;
  return model.producer_name() == "pytorch" &&
         !llvm::StringRef(model.producer_version()).split('.').first.getAsInteger(10, major) && major >= 2;
}

// "%linear_4 : … = call_function[target=torch.ops.aten.linear.default](args = (%x, %p_weight), kwargs = {})": a bias
// would be the third argument.
bool is_known_without_bias(const onnx::NodeProto& node) {
  const Metadata metadata = metadata_of(node);
  const auto text = metadata.find("pkg.torch.onnx.fx_node");
  if (text == metadata.end()) return false;
  auto [call, arguments] = llvm::StringRef(text->second).split("aten.linear.default](args = (");
  llvm::SmallVector<llvm::StringRef, 3> list;
  arguments.split(')').first.split(list, ',');
  return !arguments.empty() && arguments.contains("kwargs = {})") && (list.size() == 2 || list[2].trim() == "None");
}
}  // namespace optp
