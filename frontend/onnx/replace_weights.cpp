// The model's message stays as it is but for the bytes of its initializers: read, placed (weight_sites.h), filled,
// written again.
#include "frontend/onnx/replace_weights.h"

#include <onnx/onnx_pb.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "frontend/io/input_folder.h"
#include "frontend/io/onnx_version.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/tensor.h"
#include "frontend/onnx/weight_sites.h"
#include "llvm/ADT/StringSet.h"

namespace optp {
namespace {
constexpr int64_t largest_single_file_bytes = int64_t{1} << 30;  // protobuf's own end is at 2 GiB, with the graph
constexpr int64_t external_from_bytes = 1024, alignment = 4096;

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
    sites_.emplace(*model_);
    return llvm::Error::success();
  }

  // Finds where every weight goes, and makes the initializers that were not there.
  llvm::Error place(llvm::ArrayRef<NewWeight> weights) {
    std::string unplaced;
    for (const NewWeight& w : weights) {
      if (!place_one(w.name, w)) unplaced += (unplaced.empty() ? "" : ", ") + quoted(w.name);
      for (const std::string& alias : w.aliases) {
        if (!sites_->has_initializer(alias) && sites_->is_identity_of(alias, w)) continue;
        if (!place_one(alias, w)) unplaced += (unplaced.empty() ? "" : ", ") + quoted(alias);
      }
    }
    if (unplaced.empty()) return llvm::Error::success();
    return error(Code::malformed)
        .in_file(path_)
        .what("no initializer, and no node whose input it could be, for " + unplaced);
  }

  // What was made for a weight is named as the model's source names it.
  void name_made(llvm::ArrayRef<NewWeight> weights) {
    auto& graph = *model_->mutable_graph();
    llvm::StringSet<> taken;
    for (const auto& t : graph.initializer()) taken.insert(t.name());
    for (const auto& v : graph.input()) taken.insert(v.name());
    for (const auto& n : graph.node())
      for (const auto& o : n.output()) taken.insert(o);
    std::map<std::string, std::string> names;
    for (const NewWeight& w : weights)
      if (!w.model_name.empty() && llvm::is_contained(result.added, w.name) && taken.insert(w.model_name).second)
        names[w.name] = w.model_name;
    auto rename = [&](std::string* name) {
      if (const auto it = names.find(*name); it != names.end()) *name = it->second;
    };
    for (auto& t : *graph.mutable_initializer()) rename(t.mutable_name());
    for (auto& v : *graph.mutable_input()) rename(v.mutable_name());
    for (auto& n : *graph.mutable_node())
      for (auto& i : *n.mutable_input()) rename(&i);
    for (std::string& name : result.added) rename(&name);
  }

  llvm::Error fill(llvm::ArrayRef<NewWeight> weights) {
    for (const NewWeight& w : weights) {
      const auto targets = targets_.find(w.name);
      if (targets == targets_.end()) continue;
      auto array = w.load();
      if (!array) return array.takeError();
      for (const auto& [name, turned] : targets->second) {
        const int k = sites_->initializer(name);
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

  llvm::Error write(llvm::StringRef out) {
    sites_->drop_removed_nodes();
    if (auto e = gather_bytes()) return e;
    if (auto e = embed_attributes()) return e;
    const std::string data_path = (out + ".data").str();
    const std::vector<llvm::ArrayRef<char>> pieces = lay_out(split_path(data_path).second);
    result.external = !pieces.empty();
    if (auto e = check_keeps_inputs(out, data_path)) return e;
    if (auto e = write_files(out, data_path, pieces)) return e;
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

  // Every initializer's bytes, trained or as they were, and whether they go into a file beside the model.
  llvm::Error gather_bytes() {
    auto& graph = *model_->mutable_graph();
    bytes_.resize(size_t(graph.initializer_size()));
    int64_t total = 0;
    for (int k = 0; k < graph.initializer_size(); ++k) {
      auto& proto = *graph.mutable_initializer(k);
      const bool was_external = proto.data_location() == onnx::TensorProto::EXTERNAL;
      result.external |= was_external;
      if (auto it = arrays_.find(k); it != arrays_.end()) {
        bytes_[size_t(k)] = it->second.bytes;
      } else if (was_external) {
        auto tensor = load(proto, tensor_place("initializer", proto.name()));
        if (!tensor) return tensor.takeError();
        bytes_[size_t(k)] = (*tensor)->bytes;
        kept_.push_back(*tensor);
      }
      total += bytes_[size_t(k)] ? int64_t(bytes_[size_t(k)]->size()) : int64_t(proto.ByteSizeLong());
    }
    result.external |= total > largest_single_file_bytes;
    return llvm::Error::success();
  }
  llvm::Error embed_attributes() {
    for (auto& n : *model_->mutable_graph()->mutable_node())
      for (auto& a : *n.mutable_attribute())
        if (a.has_t() && a.t().data_location() == onnx::TensorProto::EXTERNAL) {
          auto tensor = load(a.t(), words("attribute " + quoted(a.name()) + " of node " + quoted(n.name())));
          if (!tensor) return tensor.takeError();
          embed(*a.mutable_t(), (*tensor)->bytes);
        }
    return llvm::Error::success();
  }
  // Puts the bytes into the message, or refers to where they will be in the data file; returns what that is made of.
  std::vector<llvm::ArrayRef<char>> lay_out(const std::string& data_name) {
    static const std::vector<char> zeros(size_t(alignment), 0);
    std::vector<llvm::ArrayRef<char>> pieces;
    int64_t offset = 0;
    for (size_t k = 0; k < bytes_.size(); ++k) {
      if (!bytes_[k]) continue;
      auto& proto = *model_->mutable_graph()->mutable_initializer(int(k));
      const auto size = int64_t(bytes_[k]->size());
      if (!result.external || size < external_from_bytes) {
        embed(proto, *bytes_[k]);
        continue;
      }
      if (const int64_t rest = offset % alignment) {
        pieces.push_back(llvm::ArrayRef<char>(zeros).take_front(size_t(alignment - rest)));
        offset += alignment - rest;
      }
      clear(proto);
      refer_to_data(proto, data_name, offset, size);
      pieces.push_back(*bytes_[k]);
      offset += size;
    }
    return pieces;
  }
  llvm::Error check_keeps_inputs(llvm::StringRef out, const std::string& data_path) const {
    for (const FileId& id : inputs_)
      for (const std::string& path : {out.str(), data_path})
        if ((path != data_path || result.external) && same_file(path, id.device, id.inode))
          return error(Code::is_an_input).in_file(path).what("it is an input of this run");
    return llvm::Error::success();
  }
  llvm::Error write_files(llvm::StringRef out, const std::string& data_path,
                          llvm::ArrayRef<llvm::ArrayRef<char>> pieces) const {
    std::string text;
    if (model_->ByteSizeLong() > size_t(Limits().max_model_bytes) || !model_->SerializeToString(&text))
      return error(Code::too_large).in_file(path_).what("the model without its weights is larger than protobuf allows");
    if (result.external) {
      // An older model there would take the new data for its own: whoever stops between the two leaves none.
      if (::unlink(out.str().c_str()) != 0 && errno != ENOENT)
        return error(Code::cannot_write).in_file(out).what(reason(errno));
      if (auto e = write_file_atomically(data_path, pieces)) return e;
    }
    return write_file_atomically(out, text);
  }

  bool place_one(const std::string& name, const NewWeight& w) {
    if (targets_of_name_.count(name)) return false;  // two parameters of one name
    if (sites_->has_initializer(name))
      result.replaced.push_back(name);
    else if (sites_->make_initializer(name))
      result.added.push_back(name);
    else
      return false;
    targets_of_name_.insert(name);
    targets_[w.name].emplace_back(name, llvm::is_contained(w.transposed_aliases, name));
    return true;
  }

  std::string path_;
  InputFolder folder_;
  std::shared_ptr<onnx::ModelProto> model_;
  std::vector<FileId> inputs_;
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::optional<WeightSites> sites_;
  llvm::StringSet<> targets_of_name_;
  std::map<std::string, std::vector<std::pair<std::string, bool>>>
      targets_;                      // of each weight: initializers, and whether transposed
  std::map<int, HostArray> arrays_;  // by initializer
  // Of each initializer; none where they are in the message and stay there.
  std::vector<std::optional<llvm::ArrayRef<char>>> bytes_;
  std::vector<std::shared_ptr<const Tensor>> kept_;  // what some of them lie in
};
}  // namespace

llvm::Expected<ReplacedWeights> replace_weights(llvm::StringRef model, llvm::ArrayRef<NewWeight> weights,
                                                llvm::StringRef path) {
  Replacer replacer(model);
  if (auto e = replacer.open()) return e;
  if (auto e = replacer.place(weights)) return e;
  if (auto e = replacer.fill(weights)) return e;
  replacer.name_made(weights);
  if (auto e = replacer.write(path)) return e;
  return replacer.result;
}
}  // namespace optp
