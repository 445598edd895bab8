#include "frontend/models/graph_writer.h"

#include <cassert>

#include "frontend/io/onnx_version.h"
#include "llvm/Support/MathExtras.h"

namespace optp {
namespace {
onnx::TensorProto int64_tensor(llvm::ArrayRef<int64_t> values) {
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto_DataType_INT64);
  for (int64_t v : values) tensor.add_int64_data(v);
  return tensor;
}

void set_shape(onnx::ValueInfoProto& value, onnx::TensorProto_DataType dtype, llvm::ArrayRef<std::string> dims) {
  onnx::TypeProto_Tensor& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(dtype);
  for (const std::string& dim : dims) {
    onnx::TensorShapeProto_Dimension& d = *type.mutable_shape()->add_dim();
    if (int64_t number = 0; !llvm::StringRef(dim).getAsInteger(10, number))
      d.set_dim_value(number);
    else
      d.set_dim_param(dim);
  }
}
}  // namespace

GraphWriter::GraphWriter(llvm::StringRef name, std::string data_file) : data_file_(std::move(data_file)) {
  model_.set_ir_version(written_ir_version);
  model_.set_producer_name("opt-partition");
  model_.add_opset_import()->set_version(written_opset);
  graph().set_name(name.str());
}

std::string GraphWriter::input(llvm::StringRef name, onnx::TensorProto_DataType dtype,
                               llvm::ArrayRef<llvm::StringRef> dims) {
  onnx::ValueInfoProto& value = *graph().add_input();
  value.set_name(name.str());
  set_shape(value, dtype, std::vector<std::string>(dims.begin(), dims.end()));
  return name.str();
}

void GraphWriter::output([[maybe_unused]] llvm::StringRef value, llvm::StringRef name,
                         llvm::ArrayRef<std::string> dims) {
  // The last node gives it, and nobody has read it yet.
  std::string& result = *graph().mutable_node(graph().node_size() - 1)->mutable_output(0);
  assert(result == value && "only the last node's result can be renamed");
  result = name.str();
  onnx::ValueInfoProto& info = *graph().add_output();
  info.set_name(name.str());
  set_shape(info, onnx::TensorProto_DataType_FLOAT, dims);
}

std::string GraphWriter::parameter(llvm::StringRef name, llvm::ArrayRef<int64_t> dims, float mean) {
  int64_t elements = 1;
  for (int64_t dim : dims) elements *= dim;
  RandomParameter p{.name = name.str(),
                    .elements = elements,
                    .offset_bytes = int64_t(llvm::alignTo(uint64_t(end_bytes_), 4096)),
                    .mean = mean};
  onnx::TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(p.name);
  tensor.set_data_type(onnx::TensorProto_DataType_FLOAT);
  for (int64_t dim : dims) tensor.add_dims(dim);
  refer_to_data(tensor, data_file_, p.offset_bytes, p.size_bytes());
  end_bytes_ = p.offset_bytes + p.size_bytes();
  parameters_.push_back(std::move(p));
  return name.str();
}

std::string GraphWriter::node(llvm::StringRef scope, llvm::StringRef op, llvm::ArrayRef<std::string> inputs,
                              llvm::ArrayRef<OnnxAttribute> attributes) {
  std::string name = (scope + "/" + op).str();
  if (const int before = used_[name]++) name.append("_").append(std::to_string(before));
  onnx::NodeProto& node = *graph().add_node();
  node.set_name(name);
  node.set_op_type(op.str());
  for (const std::string& value : inputs) node.add_input(value);
  node.add_output(name + "_output_0");
  for (const OnnxAttribute& a : attributes) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(a.name);
    if (const auto* i = std::get_if<int64_t>(&a.value)) {
      attribute.set_type(onnx::AttributeProto_AttributeType_INT);
      attribute.set_i(*i);
    } else if (const auto* f = std::get_if<float>(&a.value)) {
      attribute.set_type(onnx::AttributeProto_AttributeType_FLOAT);
      attribute.set_f(*f);
    } else {
      attribute.set_type(onnx::AttributeProto_AttributeType_INTS);
      for (int64_t v : std::get<std::vector<int64_t>>(a.value)) attribute.add_ints(v);
    }
  }
  return node.output(0);
}

void GraphWriter::set_tensor(onnx::TensorProto tensor) {
  onnx::AttributeProto& value = *graph().mutable_node(graph().node_size() - 1)->add_attribute();
  value.set_name("value");
  value.set_type(onnx::AttributeProto_AttributeType_TENSOR);
  *value.mutable_t() = std::move(tensor);
}
std::string GraphWriter::constant(llvm::StringRef scope, onnx::TensorProto tensor) {
  std::string result = node(scope, "Constant", {});
  set_tensor(std::move(tensor));
  return result;
}
std::string GraphWriter::filled(llvm::StringRef scope, const std::string& shape, bool value) {
  std::string result = node(scope, "ConstantOfShape", shape);
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto_DataType_BOOL);
  tensor.add_dims(1);
  tensor.add_int32_data(value);
  set_tensor(std::move(tensor));
  return result;
}
std::string GraphWriter::scalar(llvm::StringRef scope, int64_t value) { return constant(scope, int64_tensor(value)); }
std::string GraphWriter::scalar(llvm::StringRef scope, float value) {
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto_DataType_FLOAT);
  tensor.add_float_data(value);
  return constant(scope, std::move(tensor));
}
std::string GraphWriter::list(llvm::StringRef scope, llvm::ArrayRef<int64_t> values) {
  onnx::TensorProto tensor = int64_tensor(values);
  tensor.add_dims(int64_t(values.size()));
  return constant(scope, std::move(tensor));
}

// The schema has no map fields, so that one graph has one serial form.
std::string GraphWriter::serialized() const { return model_.SerializeAsString(); }

}  // namespace optp
