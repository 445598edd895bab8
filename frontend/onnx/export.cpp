#include "frontend/onnx/export.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <onnx/onnx_pb.h>

#include "frontend/io/limits.h"
#include "frontend/io/onnx_version.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/caches.h"
#include "frontend/onnx/export_context.h"
#include "frontend/onnx/own_domain.h"
#include "llvm/ADT/StringExtras.h"

namespace optp {
namespace {
constexpr const char* data_file = "model.onnx.data";
constexpr size_t most_intervals = 8;  // in a document string
constexpr int64_t alignment = 4096;   // a page: what maps the file can use the bytes in place

// A name as it came where it can't be taken for an expression when it is read again.
std::string text_of(Dim d) {
  const auto name = name_of(d);
  if (!name) return d.text();
  auto read = parse_dim(*name);
  if (read) return d.text();
  llvm::consumeError(read.takeError());
  return name->str();
}

// With the sharding as text, for viewers.
void set_type(onnx::ValueInfoProto& info, llvm::StringRef name, const Value& value) {
  const Type& type = value.type;
  info.set_name(name.str());
  if (value.sharding) info.set_doc_string(to_string(*value.sharding));
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(int(type.dtype));
  auto& shape = *tensor.mutable_shape();
  for (Dim d : type.dims) {
    auto& dim = *shape.add_dim();
    if (auto n = d.constant())
      dim.set_dim_value(*n);
    else
      dim.set_dim_param(text_of(d));
  }
}

struct Written {
  onnx::ModelProto model;
  std::vector<const Value*> external;  // in the order of their bytes in the data file
};

// From a graph to a message, in the order in which the message has its parts.
class Writer {
 public:
  Writer(const Graph& graph, const ExportOptions& options)
      : graph_(graph), options_(options), proto_(*out_.model.mutable_graph()), context_(graph, proto_) {}

  llvm::Expected<Written> write() {
    write_header();
    proto_.set_name(graph_.name.empty() ? "graph" : graph_.name);
    write_inputs();
    for (const Value* v : graph_.data())
      if (auto e = write_initializer(*v)) return e;
    for (const auto& node : graph_.nodes)
      if (!context_.is_written(*node))
        if (auto e = write_node(*node)) return e;
    for (const GraphOutput& o : graph_.outputs) {
      if (context_.name_of(*o.value) != o.name) context_.identity(*o.value, o.name);
      set_type(*proto_.add_output(), o.name, *o.value);
    }
    context_.close();
    return std::move(out_);
  }

 private:
  void write_header() {
    onnx::ModelProto& model = out_.model;
    model.set_ir_version(written_ir_version);
    model.set_producer_name("opt-partition");
    auto& standard = *model.add_opset_import();
    standard.set_domain("");
    standard.set_version(written_opset);
    if (llvm::any_of(graph_.nodes, [](const auto& node) { return node->op->collective; })) {
      auto& ours = *model.add_opset_import();
      ours.set_domain(own_domain);
      ours.set_version(own_domain_version);
    }
    auto metadata = options_.metadata;
    if (graph_.rank) {
      metadata["rank"] = std::to_string(*graph_.rank);
      if (const auto names = never_zero_names(graph_.inputs); !names.empty())
        metadata["never_zero"] = llvm::join(names, "\n");
    }
    for (const auto& [key, value] : metadata) {
      auto& entry = *model.add_metadata_props();
      entry.set_key("opt_partition." + key);
      entry.set_value(value);
    }
  }
  void write_inputs() {
    for (const Value* v : graph_.inputs) set_type(*proto_.add_input(), v->name, *v);
    // What a training step updates is an input, with its first value as the default.
    for (const Value* v : graph_.data())
      if (llvm::any_of(graph_.updates, [&](const Update& u) { return u.input == v->name; }))
        set_type(*proto_.add_input(), v->name, *v);
  }

  llvm::Error write_initializer(const Value& v) {
    if (v.type.dtype == DType::string)
      return error(Code::dtype_mismatch)
          .tensor("initializer", v.name)
          .what("dtype")
          .expected("a number")
          .found("string");
    onnx::TensorProto& t = *proto_.add_initializer();
    t.set_name(context_.name_of(v));
    t.set_data_type(int(v.type.dtype));
    const Shard shard = v.data_shard();
    const Extents dims = shard.shape();
    for (int64_t d : dims) t.add_dims(d);
    if (v.sharding && v.shard) t.set_doc_string(to_string(*v.sharding) + ": " + to_string(shard, most_intervals));
    const int64_t bytes = count_of(dims) * size_bytes(v.type.dtype);
    const bool absent = v.data->is_missing();
    if (absent && options_.weights)
      return error(Code::weights_not_found)
          .tensor("initializer", v.name)
          .what("its file " + quoted(v.data->missing) + " is not there");
    const bool kept = bytes < options_.inline_below_bytes || (!options_.weights && !v.is_parameter);
    if (bytes == 0 || (kept && !absent)) {
      std::string& raw = *t.mutable_raw_data();
      if (bytes > 0)
        for_each_run(shard, *v.data, [&](llvm::ArrayRef<char> run) { raw.append(run.data(), run.size()); });
    } else {
      refer_to_data_file(t, bytes);
      out_.external.push_back(&v);
    }
    return llvm::Error::success();
  }
  void refer_to_data_file(onnx::TensorProto& t, int64_t bytes) {
    const int64_t offset = (end_ + alignment - 1) / alignment * alignment;
    end_ = offset + bytes;
    refer_to_data(t, data_file, offset, bytes);
  }

  llvm::Error write_node(const Node& node) {
    const ExportRow* row = find_export(node.op->name);
    if (!row) return error(Code::bug).at(place_of(node)).what("op " + quoted(node.op->name) + " has no ONNX form");
    context_.begin(node, *row);
    row->write(context_);
    if (auto e = context_.take_failure()) return within(place_of(node), std::move(e));
    if (!graph_.is_output(node.out())) set_type(*proto_.add_value_info(), context_.name_of(node.out()), node.out());
    return llvm::Error::success();
  }

  const Graph& graph_;
  const ExportOptions& options_;
  Written out_;
  onnx::GraphProto& proto_;
  ExportContext context_;
  int64_t end_ = 0;  // of the data file so far
};
llvm::Expected<Written> to_proto(const Graph& graph, const ExportOptions& options) {
  return Writer(graph, options).write();
}

// The same message always gives the same bytes.
llvm::Expected<std::string> serialized(const onnx::ModelProto& model) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!model.SerializeToCodedStream(&coded))
      return error(Code::too_large, "the graph without its weights is larger than the 2 GiB of a protocol buffer");
  }
  return bytes;
}
}  // namespace

llvm::Expected<std::string> model_bytes(const Graph& graph, const ExportOptions& options) {
  auto written = to_proto(graph, options);
  if (!written) return written.takeError();
  return serialized(written->model);
}

llvm::Error write_rank_model(const Graph& graph, OutputTransaction& out, llvm::StringRef folder,
                             const ExportOptions& options) {
  auto written = to_proto(graph, options);
  if (!written) return written.takeError();
  auto bytes = serialized(written->model);
  if (!bytes) return bytes.takeError();
  auto model = out.create(folder.str() + "/model.onnx");
  if (!model) return model.takeError();
  if (auto e = (*model)->write(*bytes)) return e;
  if (auto e = (*model)->finish()) return e;
  const std::string data_name = folder.str() + "/" + data_file;
  if (!options.weights) {
    if (!written->external.empty()) out.leave_out(data_name);
    return llvm::Error::success();
  }
  auto data = out.create(data_name);
  if (!data) return data.takeError();
  for (const Value* v : written->external) {
    if (auto e = (*data)->pad_to(alignment)) return e;
    llvm::Error failed = llvm::Error::success();
    for_each_run(v->data_shard(), *v->data, [&](llvm::ArrayRef<char> run) {
      if (!failed) failed = (*data)->write(run);
      if (options.wrote) options.wrote(int64_t(run.size()));
    });
    if (failed) return failed;
  }
  return (*data)->finish();
}
}  // namespace optp
