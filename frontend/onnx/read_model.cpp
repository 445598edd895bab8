// A file becomes a Model: it parses, its head is one we read, its names hang together.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/data_in_file.h"
#include "frontend/onnx/lowering.h"
#include "frontend/onnx/model.h"
#include "frontend/onnx/source_names.h"

namespace optp {
namespace {
// ONNX 1.23's. Up to it, operators that our tables know changed in these ways only since opset 23: more element types,
// attributes for them, and what the tables have rows for. A later opset may change what an operator means.
constexpr int64_t oldest_opset = 11, newest_opset = 28;

// Protobuf merges duplicates of a singular message: two graphs would become one that nobody wrote.
int graphs_in(llvm::ArrayRef<char> bytes) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), int(bytes.size()));
  int count = 0;
  while (const uint32_t tag = in.ReadTag()) {
    count += tag >> 3 == onnx::ModelProto::kGraphFieldNumber;
    if (!google::protobuf::internal::WireFormatLite::SkipField(&in, tag)) break;
  }
  return count;
}

llvm::Error parse(Model& model, InputFolder& folder) {
  auto file = folder.open_model(model.path);
  if (!file) return file.takeError();
  const auto bytes = (*file)->bytes();
  if (bytes.empty()) return error(Code::not_this_format).in_file(model.path).what("the file is empty");
  ParsedApart apart = cut_out_data(bytes);
  const llvm::ArrayRef<char> message =
      apart.raw_data.empty() ? bytes : llvm::ArrayRef<char>(apart.message.data(), apart.message.size());
  auto proto = std::make_shared<onnx::ModelProto>();
  if (!proto->ParseFromArray(message.data(), int(message.size())))
    return error(Code::not_this_format)
        .in_file(model.path)
        .what("not an ONNX model")
        .what("its protocol buffer does not parse");
  if (graphs_in(bytes) > 1)
    return error(Code::malformed).in_file(model.path).what("the file holds more than one graph");
  model.proto = std::move(proto);
  model.file = std::move(*file);
  model.raw_data = std::move(apart.raw_data);
  return llvm::Error::success();
}

llvm::Error check_head(const onnx::ModelProto& model, const Limits& limits) {
  if (!model.has_graph() || (model.graph().node_size() == 0 && model.graph().output_size() == 0))
    return error(Code::not_this_format).what("not an ONNX model").what("it has no graph");
  if (model.ir_version() < 3 || model.ir_version() > 100)
    return error(Code::unsupported_version).what("ir_version").expected("3 or later").found(model.ir_version());
  const auto& g = model.graph();
  if (g.node_size() > limits.max_nodes)
    return error(Code::too_large).what("more than " + llvm::Twine(limits.max_nodes) + " nodes");
  if (g.sparse_initializer_size() > 0)
    return error(Code::not_supported)
        .tensor("sparse initializer", g.sparse_initializer(0).values().name())
        .what("not supported");
  if (g.output_size() == 0) return error(Code::malformed, "the graph has no outputs");
  return llvm::Error::success();
}

llvm::Error read_names(Model& model) {
  const auto& g = model.graph();
  llvm::StringSet<> defined;
  for (const auto& t : g.initializer()) {
    if (t.name().empty()) return error(Code::malformed, "an initializer has no name");
    if (!defined.insert(t.name()).second)
      return error(Code::duplicate).tensor("initializer", t.name()).says("is defined twice");
  }
  llvm::StringSet<> inputs;
  for (const auto& v : g.input()) {
    if (v.name().empty()) return error(Code::malformed, "an input has no name");
    if (!inputs.insert(v.name()).second)
      return error(Code::duplicate).tensor("input", v.name()).says("is defined twice");
    defined.insert(v.name());
  }
  auto body = read_body(g.node(), defined, {});
  if (!body) return body.takeError();
  model.body = std::move(*body);
  if (!model.body.was_sorted)
    model.remarks.push_back("the file's nodes are not in topological order; they were sorted");
  for (const auto& n : g.node())
    for (const auto& o : n.output()) defined.insert(o);
  llvm::StringSet<> outputs;
  for (const auto& o : g.output()) {
    if (o.name().empty() || !defined.contains(o.name()))
      return error(Code::undefined).tensor("output", o.name()).says("is defined nowhere");
    if (!outputs.insert(o.name()).second)
      return error(Code::duplicate).tensor("output", o.name()).says("is named twice");
  }
  // Some writers repeat an entry for each pass they ran.
  llvm::StringMap<int> described;
  std::vector<std::string> repeated;
  for (const auto& v : g.value_info())
    if (++described[v.name()] == 2) repeated.push_back(v.name());
  if (!repeated.empty())
    model.remarks.push_back("value_info is given more than once for " + std::to_string(repeated.size()) +
                            (repeated.size() == 1 ? " value: " : " values: ") + listed(repeated));
  return llvm::Error::success();
}

llvm::Error read(Model& model, const Limits& limits) {
  const onnx::ModelProto& proto = *model.proto;
  if (auto e = check_head(proto, limits)) return e;
  auto opsets = read_opsets(proto.opset_import());
  if (!opsets) return opsets.takeError();
  model.opsets = std::move(*opsets);
  if (!model.opsets.contains(""))
    return error(Code::unsupported_version).what("opset_import").what("the standard domain is missing");
  if (auto e = model.functions.read(proto, limits)) return e;
  if (proto.training_info_size() > 0)
    model.remarks.push_back("the file's training_info is not read; a training step is derived from the graph");
  for (const auto& entry : proto.metadata_props()) {
    if (int64_t rank = 0; entry.key() == "opt_partition.rank" && !llvm::StringRef(entry.value()).getAsInteger(10, rank))
      model.rank = rank;
    if (entry.key() == "opt_partition.never_zero") {
      llvm::SmallVector<llvm::StringRef> names;
      llvm::StringRef(entry.value()).split(names, '\n');
      model.never_zero.insert(names.begin(), names.end());
    }
  }
  model.drops_zero_bias = drops_zero_bias(proto);
  if (auto e = read_names(model)) return e;
  if (auto e = model.functions.check_calls(model.body, limits)) return e;
  if (auto e = check_operators(model.body, model.opsets, model.functions)) return e;
  model.dims = DimNames(proto.graph(), proto.producer_name() == "opt-partition");
  return llvm::Error::success();
}
}  // namespace

llvm::Expected<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  Opsets out;
  for (const auto& set : imports) {
    const llvm::StringRef domain = domain_of(set.domain());
    if (!out.try_emplace(domain, set.version()).second)
      return error(Code::unsupported_version).what("opset_import").what("domain " + quoted(domain) + " is named twice");
    const int64_t least = domain.empty() ? 1 : 0;
    if (set.version() < least || set.version() > 100000)
      return error(Code::unsupported_version)
          .what("opset_import")
          .what("domain " + quoted(domain))
          .what("version " + llvm::Twine(set.version()));
  }
  if (auto it = out.find(""); it != out.end()) {
    if (it->second < oldest_opset)
      return error(Code::unsupported_version)
          .what("opset " + llvm::Twine(it->second))
          .expected(llvm::Twine(oldest_opset) + " or later")
          .hint("export the model again with a newer opset");
    if (it->second > newest_opset)
      return error(Code::unsupported_version)
          .what("opset " + llvm::Twine(it->second))
          .expected("at most " + llvm::Twine(newest_opset) + ", the newest whose operators are known")
          .hint("export the model again with an older opset");
  }
  return out;
}
int64_t opset_of(const onnx::NodeProto& node, const Opsets& opsets) { return opsets.lookup(domain_of(node.domain())); }

llvm::Expected<std::unique_ptr<Model>> read_model(llvm::StringRef path, InputFolder& folder, const Limits& limits) {
  auto model = std::make_unique<Model>();
  model->path = path.str();
  if (auto e = parse(*model, folder)) return e;
  if (auto e = read(*model, limits)) return within(file_place(model->path), std::move(e));
  return model;
}
}  // namespace optp
