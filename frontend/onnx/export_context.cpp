#include "frontend/onnx/export_context.h"

#include <onnx/onnx_pb.h>

#include "frontend/ir/diagnostic.h"

namespace optp {
onnx::NodeProto make_node(llvm::StringRef op, llvm::ArrayRef<std::string> inputs, const ExportAttributes& attributes,
                          llvm::StringRef name, llvm::StringRef output) {
  onnx::NodeProto node;
  node.set_op_type(op.str());
  node.set_name(name.str());
  for (const std::string& i : inputs) node.add_input(i);
  node.add_output(output.str());
  for (const ExportAttribute& a : attributes) {
    onnx::AttributeProto& proto = *node.add_attribute();
    proto.set_name(a.name);
    if (const auto* i = std::get_if<int64_t>(&a.value)) {
      proto.set_type(onnx::AttributeProto::INT);
      proto.set_i(*i);
    } else if (const auto* f = std::get_if<double>(&a.value)) {
      proto.set_type(onnx::AttributeProto::FLOAT);
      proto.set_f(float(*f));
    } else if (const auto* s = std::get_if<std::string>(&a.value)) {
      proto.set_type(onnx::AttributeProto::STRING);
      proto.set_s(*s);
    } else {
      proto.set_type(onnx::AttributeProto::INTS);
      for (int64_t v : std::get<llvm::SmallVector<int64_t, 4>>(a.value)) proto.add_ints(v);
    }
  }
  return node;
}

ExportContext::ExportContext(const Graph& graph, onnx::GraphProto& proto) : graph_(graph), proto_(proto) {
  // Names of the graph's interface come first: an inner value that bears the name of an output it is not, is renamed.
  llvm::StringMap<const Value*> outputs;
  for (const GraphOutput& o : graph.outputs) {
    names_.insert(o.name);
    outputs.try_emplace(o.name, o.value);
  }
  auto all = [&](auto&& visit) {
    for (const Value* v : graph.data()) visit(*v);
    for (const auto& node : graph.nodes)
      for (const auto& r : node->results) visit(*r);
  };
  for (const Value* v : graph.inputs) names_.insert(v->name);
  all([&](const Value& v) { names_.insert(v.name); });
  all([&](const Value& v) {
    auto it = outputs.find(v.name);
    if (it != outputs.end() && it->second != &v) renamed_[&v] = unique_name(v.name);
  });
  find_sources();
}
ExportContext::~ExportContext() { llvm::consumeError(std::move(failure_)); }

void ExportContext::begin(const Node& node, const ExportRow& row) {
  node_ = &node;
  row_ = &row;
}
std::string ExportContext::name_of(const Value& value) const {
  auto it = renamed_.find(&value);
  return it == renamed_.end() ? value.name : it->second;
}
std::string ExportContext::unique_name(llvm::StringRef wanted) {
  std::string name = wanted.str();
  for (int n = 1; !names_.insert(name).second; ++n) name = wanted.str() + "." + std::to_string(n);
  return name;
}
std::string ExportContext::unique_node_name(llvm::StringRef wanted) {
  std::string name = wanted.str();
  for (int n = 1; !node_names_.insert(name).second; ++n) name = wanted.str() + "." + std::to_string(n);
  return name;
}

std::string ExportContext::step(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                                const ExportAttributes& attributes) {
  const std::string result = unique_name(name_of(node_->out()) + "/" + onnx_op.str());
  nodes_.push_back(make_node(onnx_op, inputs, attributes, unique_node_name(result), result));
  return result;
}
void ExportContext::finish(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                           const ExportAttributes& attributes, llvm::StringRef domain) {
  const std::string result = name_of(node_->out());
  nodes_.push_back(
      make_node(onnx_op, inputs, attributes, unique_node_name(node_->name.empty() ? result : node_->name), result));
  if (!domain.empty()) nodes_.back().set_domain(domain.str());
}
void ExportContext::finish_second(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                                  const ExportAttributes& attributes) {
  finish(onnx_op, inputs, attributes);
  onnx::NodeProto& node = nodes_.back();
  node.add_output(node.output(0));
  node.set_output(0, unique_name(node.output(1) + "." + onnx_op.str()));
}
std::string ExportContext::dim_node(llvm::StringRef onnx_op, llvm::ArrayRef<std::string> inputs,
                                    const ExportAttributes& attributes) {
  const std::string result = unique_name("dims/" + std::to_string(next_dim_++));
  dim_nodes_.push_back(make_node(onnx_op, inputs, attributes, unique_node_name(result), result));
  return result;
}
std::string ExportContext::cast(std::string value, DType from, DType to) {
  if (from == to) return value;
  return step("Cast", {std::move(value)}, {{"to", int64_t(to)}});
}
void ExportContext::finish_cast(std::string value, DType from) {
  const DType to = node_->out().type.dtype;
  if (from == to)
    finish("Identity", {std::move(value)});
  else
    finish("Cast", {std::move(value)}, {{"to", int64_t(to)}});
}
void ExportContext::finish_filled(double value) {
  finish("Expand", {scalar(node_->out().type.dtype, value), dims(node_->out().type.dims)});
}
void ExportContext::identity(const Value& value, llvm::StringRef output) {
  nodes_.push_back(make_node("Identity", {name_of(value)}, {}, unique_node_name(output), output));
}

std::string ExportContext::constant(DType dtype, llvm::ArrayRef<int64_t> dims, const Array& array) {
  const std::vector<char> bytes = to_bytes(array, dtype);
  std::string key = to_string(dtype).str();
  for (int64_t d : dims) key += " " + std::to_string(d);
  key += ":";
  key.append(bytes.begin(), bytes.end());
  std::string& name = constants_[key];
  if (!name.empty()) return name;
  name = unique_name("const/" + std::to_string(next_constant_++));
  onnx::TensorProto& t = *proto_.add_initializer();
  t.set_name(name);
  t.set_data_type(int(dtype));
  for (int64_t d : dims) t.add_dims(d);
  t.set_raw_data(bytes.data(), bytes.size());
  return name;
}
std::string ExportContext::integers(llvm::ArrayRef<int64_t> values) {
  Array a;
  a.resize(/*floating=*/false, {int64_t(values.size())});
  a.i.assign(values.begin(), values.end());
  return constant(DType::i64, a.dims, a);
}
std::string ExportContext::scalar(DType dtype, double value) {
  Array a;
  a.resize(is_float(dtype), {});
  if (a.is_float)
    a.f[0] = value;
  else
    a.i[0] = value >= 0x1p63 ? INT64_MAX : int64_t(value);
  return constant(dtype, {}, a);
}

void ExportContext::fail(llvm::Error error) {
  if (failure_)
    llvm::consumeError(std::move(error));
  else
    failure_ = std::move(error);
}
llvm::Error ExportContext::take_failure() { return std::exchange(failure_, llvm::Error::success()); }

void ExportContext::close() {
  for (auto* list : {&dim_nodes_, &nodes_})
    for (onnx::NodeProto& n : *list) *proto_.add_node() = std::move(n);
}

namespace {
llvm::StringMap<const ExportRow*>& registry() {
  static llvm::StringMap<const ExportRow*> rows;
  return rows;
}
}  // namespace
RegisteredExports::RegisteredExports(llvm::ArrayRef<ExportRow> rows) {
  for (const ExportRow& row : rows) registry()[row.op] = &row;
}
const ExportRow* find_export(llvm::StringRef op) { return registry().lookup(op); }

DType wider(DType dtype, TypeSet types) {
  if (contains(types, dtype)) return dtype;
  return is_float(dtype) ? DType::f32 : DType::i64;
}
void write_plain(ExportContext& c) {
  const DType from = c.dtype(), via = wider(from, c.row().types);
  std::vector<std::string> inputs;
  inputs.reserve(c.node().operands.size());
  for (unsigned k = 0; k < c.node().operands.size(); ++k) inputs.push_back(c.cast(c.operand(k), from, via));
  if (via == from || c.node().out().type.dtype != from) return c.finish(c.row().onnx_op, inputs);
  c.finish_cast(c.step(c.row().onnx_op, inputs), via);
}
}  // namespace optp
