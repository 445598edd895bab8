// An exporter writes a tensor once where several parameters are equal (frontend/onnx/README.md,
// passes/unshare_parameters.cpp): after training they are not. Each gets an initializer of its own:
//   Identity(w) -> v              the node goes, v becomes an initializer
//   LayerNormalization(x, w, b)   named n: its input 1 becomes n.weight, or its input 2 n.bias
//   MatMul(a, w), Add(a, b)       named n, of a tensor that others use, too: w becomes n.weight, b n.bias
//   Gemm(a, w) -> y               had a bias of zeros that was dropped: y.bias becomes its input 2
// Nothing else of the graph changes.
#include "frontend/onnx/replace_weights.h"

#include <onnx/onnx_pb.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "frontend/io/input_folder.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/tensor.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace optp {
namespace {
constexpr int64_t largest_single_file_bytes = int64_t{1} << 30;  // protobuf's own end is at 2 GiB, with the graph
constexpr int64_t external_from_bytes = 1024, alignment = 4096;

HostArray transposed(const HostArray& in) {
  HostArray out{in.dtype, {in.dims[1], in.dims[0]}, std::vector<char>(in.bytes.size())};
  const auto each = size_t(size_bytes(in.dtype)), rows = size_t(in.dims[0]), columns = size_t(in.dims[1]);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      std::memcpy(out.bytes.data() + (c * rows + r) * each, in.bytes.data() + (r * columns + c) * each, each);
  return out;
}

// To nearest, ties to even; a number that is finite stays finite or is an error.
llvm::Expected<HostArray> rounded(HostArray in, DType to, const Where& place) {
  if (in.dtype == to) return in;
  HostArray out{to, in.dims, {}};
  const auto count = in.bytes.size() / size_t(size_bytes(in.dtype));
  if (in.dtype != DType::f32 || !is_half(to))
    return error(Code::dtype_mismatch)
        .at(place)
        .what("dtype")
        .expected("float32 or a half-precision model")
        .found(long_name(in.dtype) + " for " + long_name(to));
  out.bytes.resize(count * 2);
  for (size_t k = 0; k < count; ++k) {
    float x;
    std::memcpy(&x, in.bytes.data() + 4 * k, 4);
    const uint16_t half = to == DType::f16 ? f32_to_f16(x) : f32_to_bf16(x);
    if (std::isfinite(x) && !std::isfinite(to == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half)))
      return error(Code::malformed)
          .at(place)
          .what("element " + llvm::Twine(k))
          .what(std::to_string(x) + " is beyond what " + long_name(to) + " can hold");
    std::memcpy(out.bytes.data() + 2 * k, &half, 2);
  }
  return out;
}

class Replacer {
 public:
  explicit Replacer(llvm::StringRef path) : path_(path.str()) {}

  llvm::Error open() {
    auto file = folder_.open_model(path_);
    if (!file) return file.takeError();
    inputs_.push_back((*file)->id());
    model_ = std::make_shared<onnx::ModelProto>();
    const auto bytes = (*file)->bytes();
    if (!model_->ParseFromArray(bytes.data(), int(bytes.size())) || !model_->has_graph())
      return error(Code::not_this_format).in_file(path_).what("not an ONNX model");
    auto& graph = *model_->mutable_graph();
    for (int k = 0; k < graph.initializer_size(); ++k) initializers_[graph.initializer(k).name()] = k;
    for (int k = 0; k < graph.node_size(); ++k) {
      const auto& n = graph.node(k);
      by_name_[n.name().empty() && n.output_size() ? n.output(0) : n.name()].push_back(k);
      for (const auto& o : n.output()) by_output_[o] = k;
      for (const auto& i : n.input())
        if (!i.empty()) ++uses_[i];
    }
    return llvm::Error::success();
  }

  // Finds where every weight goes, and makes the initializers that were not there.
  llvm::Error place(llvm::ArrayRef<NewWeight> weights) {
    std::string unplaced;
    for (const NewWeight& w : weights) {
      if (!place_one(w.name, w)) unplaced += (unplaced.empty() ? "" : ", ") + quoted(w.name);
      for (const std::string& alias : w.aliases) {
        if (!initializers_.count(alias) && is_identity_of(alias, w)) continue;  // an Identity of w: updated with it
        if (!place_one(alias, w)) unplaced += (unplaced.empty() ? "" : ", ") + quoted(alias);
      }
    }
    if (unplaced.empty()) return llvm::Error::success();
    return error(Code::malformed)
        .in_file(path_)
        .what("no initializer, and no node whose input it could be, for " + unplaced);
  }

  llvm::Error fill(llvm::ArrayRef<NewWeight> weights) {
    for (const NewWeight& w : weights) {
      const auto targets = targets_.find(w.name);
      if (targets == targets_.end()) continue;
      auto array = w.load();
      if (!array) return array.takeError();
      for (const auto& [name, turned] : targets->second) {
        const int k = initializers_.lookup(name);
        auto& proto = *model_->mutable_graph()->mutable_initializer(k);
        const Where place{file_place(path_), tensor_place("initializer", name)};
        if (turned && array->dims.size() != 2)
          return error(Code::malformed).at(place).expected("a matrix, of which it is the transpose");
        HostArray own = turned ? transposed(*array) : *array;
        if (llvm::ArrayRef<int64_t>(own.dims) !=
            llvm::ArrayRef<int64_t>(proto.dims().data(), size_t(proto.dims_size())))
          return error(Code::shape_mismatch)
              .at(place)
              .what("shape")
              .expected("that of the trained parameter " + quoted(w.name))
              .found("another");
        auto right = rounded(std::move(own), DType(proto.data_type()), place);
        if (!right) return right.takeError();
        arrays_[k] = std::move(*right);
      }
    }
    return llvm::Error::success();
  }

  llvm::Error write(llvm::StringRef out, bool& external) {
    auto& graph = *model_->mutable_graph();
    drop_removed_nodes();
    // Every initializer's bytes: trained, or as they were.
    std::vector<std::shared_ptr<const Tensor>> kept(size_t(graph.initializer_size()));
    std::vector<llvm::ArrayRef<char>> bytes(kept.size());
    int64_t total = 0;
    external = false;
    for (int k = 0; k < graph.initializer_size(); ++k) {
      auto& proto = *graph.mutable_initializer(k);
      external |= proto.data_location() == onnx::TensorProto::EXTERNAL;
      if (auto it = arrays_.find(k); it != arrays_.end()) {
        bytes[size_t(k)] = it->second.bytes;
      } else if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
        auto tensor = load(proto, tensor_place("initializer", proto.name()));
        if (!tensor) return tensor.takeError();
        kept[size_t(k)] = *tensor;
        bytes[size_t(k)] = (*tensor)->bytes;
      } else {
        total += int64_t(proto.ByteSizeLong());
        continue;  // in the message, and stays there
      }
      total += int64_t(bytes[size_t(k)].size());
    }
    external |= total > largest_single_file_bytes;
    for (auto& n : *graph.mutable_node())
      for (auto& a : *n.mutable_attribute())
        if (a.has_t() && a.t().data_location() == onnx::TensorProto::EXTERNAL) {
          auto tensor = load(a.t(), words("attribute " + quoted(a.name()) + " of node " + quoted(n.name())));
          if (!tensor) return tensor.takeError();
          embed(*a.mutable_t(), (*tensor)->bytes);
        }

    const std::string data_path = (out + ".data").str(), data_name = split_path(data_path).second;
    std::vector<llvm::ArrayRef<char>> pieces;
    static const std::vector<char> zeros(size_t(alignment), 0);
    int64_t offset = 0;
    for (int k = 0; k < graph.initializer_size(); ++k) {
      const bool ours = arrays_.contains(k) || kept[size_t(k)];
      if (!ours) continue;
      auto& proto = *graph.mutable_initializer(k);
      const auto size = int64_t(bytes[size_t(k)].size());
      if (!external || size < external_from_bytes) {
        embed(proto, bytes[size_t(k)]);
        continue;
      }
      clear(proto);
      if (const int64_t rest = offset % alignment) {
        pieces.push_back(llvm::ArrayRef<char>(zeros).take_front(size_t(alignment - rest)));
        offset += alignment - rest;
      }
      proto.set_data_location(onnx::TensorProto::EXTERNAL);
      for (const auto& [key, value] : {std::pair<const char*, std::string>{"location", data_name},
                                       {"offset", std::to_string(offset)},
                                       {"length", std::to_string(size)}}) {
        auto& entry = *proto.add_external_data();
        entry.set_key(key);
        entry.set_value(value);
      }
      pieces.push_back(bytes[size_t(k)]);
      offset += size;
    }
    external = !pieces.empty();
    for (const FileId& id : inputs_)
      for (const std::string& path : {out.str(), data_path})
        if ((path != data_path || external) && same_file(path, id.device, id.inode))
          return error(Code::is_an_input).in_file(path).what("it is an input of this run");
    std::string text;
    if (model_->ByteSizeLong() > size_t(Limits().max_model_bytes) || !model_->SerializeToString(&text))
      return error(Code::too_large).in_file(path_).what("the model without its weights is larger than protobuf allows");
    if (external) {
      // An older model there would take the new data for its own: whoever stops between the two leaves none.
      if (::unlink(out.str().c_str()) != 0 && errno != ENOENT)
        return error(Code::cannot_write).in_file(out).what(reason(errno));
      if (auto e = write_file_atomically(data_path, pieces)) return e;
    }
    if (auto e = write_file_atomically(out, text)) return e;
    for (const auto& file : files_)
      if (auto e = file->check_unchanged()) return e;
    return llvm::Error::success();
  }

  ReplacedWeights result;

 private:
  llvm::Expected<std::shared_ptr<const Tensor>> load(const onnx::TensorProto& proto, const Place& place) {
    auto tensor = load_tensor(proto, model_, folder_, {}, {file_place(path_), place});
    if (!tensor) return tensor.takeError();
    if ((*tensor)->is_missing())
      return error(Code::weights_not_found)
          .in_file(path_)
          .at(place)
          .what("its file " + quoted((*tensor)->missing) + " is missing");
    for (const auto& entry : proto.external_data()) {
      if (entry.key() != "location") continue;
      auto file = folder_.open(entry.value());
      if (!file) return file.takeError();
      files_.push_back(*file), inputs_.push_back((*file)->id());
    }
    return tensor;
  }
  static void clear(onnx::TensorProto& t) {
    t.clear_raw_data(), t.clear_float_data(), t.clear_double_data(), t.clear_int32_data(), t.clear_int64_data(),
        t.clear_uint64_data();
    t.clear_external_data(), t.clear_data_location();
  }
  static void embed(onnx::TensorProto& t, llvm::ArrayRef<char> bytes) {
    clear(t);
    t.set_raw_data(bytes.data(), bytes.size());
  }

  bool place_one(const std::string& name, const NewWeight& w) {
    if (targets_of_name_.count(name)) return false;  // two parameters of one name
    if (initializers_.count(name))
      result.replaced.push_back(name);
    else if (take_constant(name) || take_identity(name, w) || take_input(name))
      result.added.push_back(name);
    else
      return false;
    targets_of_name_.insert(name);
    targets_[w.name].emplace_back(name, llvm::is_contained(w.transposed_aliases, name));
    return true;
  }

  // The initializer that a chain of Identity nodes gives the name `name`, or -1.
  int source_of(const std::string& name) const {
    std::string at = name;
    for (size_t k = 0; k <= by_output_.size(); ++k) {
      if (auto it = initializers_.find(at); it != initializers_.end()) return it->second;
      auto producer = by_output_.find(at);
      if (producer == by_output_.end()) return -1;
      const auto& n = model_->graph().node(producer->second);
      if (n.op_type() != "Identity" || n.input_size() != 1) return -1;
      at = n.input(0);
    }
    return -1;
  }
  bool is_identity_of(const std::string& alias, const NewWeight& w) const {
    const int source = source_of(alias);
    if (source < 0 || llvm::is_contained(w.transposed_aliases, alias)) return false;
    const std::string& name = model_->graph().initializer(source).name();
    return name == w.name || (llvm::is_contained(w.aliases, name) && !llvm::is_contained(w.transposed_aliases, name));
  }
  // A weight that stands in a Constant node: an initializer takes the node's place.
  bool take_constant(const std::string& name) {
    const auto producer = by_output_.find(name);
    if (producer == by_output_.end()) return false;
    const auto& n = model_->graph().node(producer->second);
    if (n.op_type() != "Constant") return false;
    for (const auto& a : n.attribute()) {
      if (a.name() != "value" || !a.has_t()) continue;
      removed_.insert(producer->second);
      add_initializer(name, a.t());
      return true;
    }
    return false;
  }
  bool take_identity(const std::string& name, const NewWeight&) {
    const int source = source_of(name);
    if (source < 0) return false;
    removed_.insert(by_output_.lookup(name));
    add_initializer(name, model_->graph().initializer(source));
    return true;
  }

  // NODE.weight and NODE.bias: the input of that node, or of the one of that output.
  bool take_input(const std::string& name) {
    const auto [place, what] = llvm::StringRef(name).rsplit('.');
    if (what != "weight" && what != "bias") return false;
    llvm::SmallVector<int, 2> nodes;
    if (auto it = by_name_.find(place); it != by_name_.end()) nodes.assign(it->second.begin(), it->second.end());
    if (auto it = by_output_.find(place); it != by_output_.end() && !llvm::is_contained(nodes, it->second))
      nodes.push_back(it->second);
    if (nodes.size() != 1) return false;
    auto& n = *model_->mutable_graph()->mutable_node(nodes[0]);
    if (n.op_type() == "Gemm" && what == "bias" && (n.input_size() == 2 || n.input(2).empty()))
      return add_bias(n, name);
    int found = -1;
    const bool norm = llvm::StringRef(n.op_type()).contains("Normalization");
    for (int k = 0; k < n.input_size(); ++k) {
      if (source_of(n.input(k)) < 0) continue;
      if (norm ? k != (what == "weight" ? 1 : 2) : uses_.lookup(n.input(k)) < 2) continue;
      if (n.op_type() == "Gemm" && k != (what == "weight" ? 1 : 2)) continue;
      if (found >= 0) return false;
      found = k;
    }
    if (found < 0) return false;
    add_initializer(name, model_->graph().initializer(source_of(n.input(found))));
    n.set_input(found, name);
    return true;
  }
  bool add_bias(onnx::NodeProto& n, const std::string& name) {
    bool turned = false;
    for (const auto& a : n.attribute()) {
      if (a.name() == "beta" && a.f() != 1) return false;
      if (a.name() == "transB") turned = a.i() != 0;
    }
    const int weight = source_of(n.input(1));
    if (weight < 0 || model_->graph().initializer(weight).dims_size() != 2) return false;
    onnx::TensorProto like;
    like.set_data_type(model_->graph().initializer(weight).data_type());
    like.add_dims(model_->graph().initializer(weight).dims(turned ? 0 : 1));
    add_initializer(name, like);
    if (n.input_size() == 2)
      n.add_input(name);
    else
      n.set_input(2, name);
    return true;
  }
  void add_initializer(const std::string& name, const onnx::TensorProto& like) {
    auto& graph = *model_->mutable_graph();
    onnx::TensorProto made;
    made.set_name(name);
    made.set_data_type(like.data_type());
    *made.mutable_dims() = like.dims();
    initializers_[name] = graph.initializer_size();
    *graph.add_initializer() = made;
    if (model_->ir_version() >= 4) return;
    auto& input = *graph.add_input();  // before IR 4 an initializer is an input, too
    input.set_name(name);
    auto& type = *input.mutable_type()->mutable_tensor_type();
    type.set_elem_type(made.data_type());
    for (int64_t d : made.dims()) type.mutable_shape()->add_dim()->set_dim_value(d);
  }
  void drop_removed_nodes() {
    auto& nodes = *model_->mutable_graph()->mutable_node();
    int kept = 0;
    for (int k = 0; k < nodes.size(); ++k)
      if (!removed_.contains(k)) {
        if (kept != k) nodes.SwapElements(kept, k);
        ++kept;
      }
    nodes.DeleteSubrange(kept, nodes.size() - kept);
  }

  std::string path_;
  InputFolder folder_;
  std::shared_ptr<onnx::ModelProto> model_;
  std::vector<FileId> inputs_;
  std::vector<std::shared_ptr<MappedFile>> files_;
  llvm::StringMap<int> initializers_, by_output_, uses_;
  llvm::StringMap<llvm::SmallVector<int, 1>> by_name_;
  llvm::DenseSet<int> removed_;
  llvm::StringSet<> targets_of_name_;
  std::map<std::string, std::vector<std::pair<std::string, bool>>>
      targets_;                      // of each weight: initializers, and whether transposed
  std::map<int, HostArray> arrays_;  // by initializer
};
}  // namespace

llvm::Expected<ReplacedWeights> replace_weights(llvm::StringRef model, llvm::ArrayRef<NewWeight> weights,
                                                llvm::StringRef path) {
  Replacer replacer(model);
  if (auto e = replacer.open()) return e;
  if (auto e = replacer.place(weights)) return e;
  if (auto e = replacer.fill(weights)) return e;
  if (auto e = replacer.write(path, replacer.result.external)) return e;
  return replacer.result;
}
}  // namespace optp
