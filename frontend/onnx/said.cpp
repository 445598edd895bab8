// What a file says of its values: value_info, outputs, and inputs that are initializers too.
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/build_graph.h"

namespace optp {
namespace {
// Names may differ, and a number may stand where a name was given later.
bool same_shape(const onnx::TensorShapeProto& said, const Value& value) {
  if (size_t(said.dim_size()) != value.ndim()) return false;
  for (int k = 0; k < said.dim_size(); ++k) {
    const auto known = value.type.dims[size_t(k)].constant();
    if (known && said.dim(k).has_dim_value() && said.dim(k).dim_value() != *known) return false;
  }
  return true;
}
std::string text_of(const onnx::TensorShapeProto& shape) {
  std::string out;
  for (int k = 0; k < std::min(shape.dim_size(), 8); ++k)
    out += (k ? ", " : "") + (shape.dim(k).has_dim_value() ? std::to_string(shape.dim(k).dim_value()) : "_");
  return "[" + out + (shape.dim_size() > 8 ? ", …]" : "]");
}

// Another type is another model, and refused by ONNX Runtime and by ONNX's own inference too.
llvm::Error check_type(const onnx::ValueInfoProto& said, llvm::StringRef kind, const Value& value) {
  const Place place = tensor_place(kind, said.name());
  if (said.type().value_case() == onnx::TypeProto::VALUE_NOT_SET) return llvm::Error::success();
  if (!said.type().has_tensor_type())
    return error(Code::malformed).at(place).what("type").expected("a tensor, as the graph computes");
  const auto& t = said.type().tensor_type();
  if (t.elem_type() != 0 && t.elem_type() != int(value.type.dtype))
    return error(Code::dtype_mismatch)
        .at(place)
        .what("dtype")
        .expected(long_name(value.type.dtype) + ", as the graph computes")
        .found("ONNX type " + llvm::Twine(t.elem_type()));
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<std::vector<std::string>> compare_said(const onnx::GraphProto& graph,
                                                      const llvm::StringMap<Value*>& values) {
  std::vector<std::string> remarks;
  for (auto [kind, list] :
       {std::pair{"input", &graph.input()}, {"value_info", &graph.value_info()}, {"output", &graph.output()}}) {
    std::vector<std::string> contradicting;
    llvm::StringSet<> seen;
    for (const auto& said : *list) {
      const Value* value = values.lookup(said.name());
      if (!value) continue;
      // Of weights and inputs the tensor and the input have the word.
      if (kind != llvm::StringRef("value_info") || value->producer)
        if (auto e = check_type(said, kind, *value)) return e;
      const auto& t = said.type().tensor_type();
      if (!t.has_shape() || same_shape(t.shape(), *value)) continue;
      if (kind == llvm::StringRef("input"))
        return error(Code::shape_mismatch)
            .tensor("input", said.name())
            .what("shape")
            .expected(to_string(value->type.dims) + ", as its initializer")
            .found(text_of(t.shape()));
      if (seen.insert(said.name()).second) contradicting.push_back(said.name());
    }
    if (contradicting.empty()) continue;
    const size_t n = contradicting.size();
    remarks.push_back(std::string(kind) + ": the file says another shape than the graph computes of " +
                      std::to_string(n) + (n == 1 ? " value: " : " values: ") + listed(contradicting) +
                      "; the graph has the word");
  }
  return remarks;
}
}  // namespace optp
