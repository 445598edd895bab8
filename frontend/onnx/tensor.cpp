#include "frontend/onnx/tensor.h"

#include <onnx/onnx_pb.h>

#include <cstring>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

namespace optp {
namespace {

// Small types travel in wider fields; what does not fit in them is no value of theirs.
template <typename T, typename Field>
std::optional<std::vector<char>> packed(const Field& field) {
  std::vector<char> out(size_t(field.size()) * sizeof(T));
  size_t at = 0;
  for (auto v : field) {
    const T value = T(v);
    if constexpr (std::is_integral_v<T>)
      if (std::is_signed_v<decltype(v)> ? int64_t(value) != int64_t(v) : uint64_t(value) != uint64_t(v))
        return std::nullopt;
    std::memcpy(out.data() + at, &value, sizeof(T));
    at += sizeof(T);
  }
  return out;
}

using Loaded = llvm::Expected<std::shared_ptr<const Tensor>>;

// From a TensorProto to a Tensor: type and shape first, then the data from the one place that has them.
class Loader {
 public:
  Loader(const onnx::TensorProto& proto, const Limits& limits, const Where& place)
      : proto_(proto), limits_(limits), place_(place) {
    if (proto.has_raw_data()) raw_ = llvm::ArrayRef<char>(proto.raw_data().data(), proto.raw_data().size());
  }

  // `left`: raw_data that the message lacks, as they lie in its file.
  Loader(const onnx::TensorProto& proto, const Limits& limits, const Where& place, const RawData& left)
      : Loader(proto, limits, place) {
    raw_ = left.bytes;
    tensor_.in_file = true;
  }

  Loaded load(std::shared_ptr<const void> owner, InputFolder& folder, llvm::StringSet<>* unknown_keys) {
    if (auto e = read_dims()) return e;
    if (tensor_.dtype == DType::string) return strings();
    if (size_bytes(tensor_.dtype) == 0)
      return fault(Code::dtype_mismatch, "dtype")
          .expected("a numeric type")
          .found("ONNX type " + llvm::Twine(proto_.data_type()));
    wanted_bytes_ = count_ * size_bytes(tensor_.dtype);
    if (auto e = check_one_field()) return e;
    if (is_external_) return external(folder, unknown_keys);
    if (proto_.external_data_size() > 0)
      return fault(Code::size_mismatch, "external data").expected("none, as the data location is not external");
    if (proto_.has_segment()) return fault(Code::not_supported, "data").what("segments are not supported");
    return raw_ ? raw(std::move(owner)) : from_field();
  }

 private:
  Diagnostic fault(Code code, const llvm::Twine& what) const { return error(code).at(place_).what(what); }
  Loaded done() { return std::make_shared<const Tensor>(std::move(tensor_)); }

  llvm::Error read_dims() {
    if (proto_.dims_size() > limits_.max_ndim)
      return fault(Code::too_large, "dims")
          .expected("at most " + llvm::Twine(limits_.max_ndim))
          .found(proto_.dims_size());
    tensor_.dims.assign(proto_.dims().begin(), proto_.dims().end());
    for (int64_t d : tensor_.dims)
      if (d < 0) return fault(Code::shape_mismatch, "dims").expected("no negative extent").found(d);
    for (int64_t d : tensor_.dims) {
      // An extent of 0 does not excuse the others: strides are products of some of them.
      auto next = checked_mul(count_, std::max<int64_t>(d, 1));
      if (!next || *next > limits_.max_elements)
        return fault(Code::too_large, "dims").what("more than " + llvm::Twine(limits_.max_elements) + " elements");
      count_ = *next;
    }
    if (llvm::is_contained(tensor_.dims, 0)) count_ = 0;
    return llvm::Error::success();
  }
  // Kept by type only: what uses it is reported there.
  Loaded strings() {
    if (raw_ || is_external_ || proto_.string_data_size() != count_)
      return fault(Code::size_mismatch, "data")
          .expected(llvm::Twine(count_) + " strings")
          .found(llvm::Twine(proto_.string_data_size()) + (raw_ ? " and raw data" : ""));
    tensor_.missing = "a string tensor";
    return done();
  }
  llvm::Error check_one_field() {
    fields_ = raw_.has_value() + (proto_.float_data_size() > 0) + (proto_.int32_data_size() > 0) +
              (proto_.int64_data_size() > 0) + (proto_.double_data_size() > 0) + (proto_.uint64_data_size() > 0) +
              (proto_.string_data_size() > 0);
    if (fields_ + is_external_ > 1)
      return fault(Code::malformed, "data").expected("one field").found(fields_ + is_external_);
    return llvm::Error::success();
  }

  Loaded external(InputFolder& folder, llvm::StringSet<>* unknown_keys) {
    auto span = external_span(unknown_keys);
    if (!span) return span.takeError();
    auto file = folder.open(span->location);
    if (!file) {
      // A file that is not there still leaves a graph to plan; any other fault is one.
      llvm::Error rest = llvm::handleErrors(file.takeError(), [&](std::unique_ptr<Diagnostic> d) -> llvm::Error {
        if (d->fault() == Fault::not_found) {
          tensor_.missing = span->location;
          return llvm::Error::success();
        }
        return llvm::Error(std::move(d));
      });
      if (rest) return within(place_, std::move(rest));
      return done();
    }
    auto bytes = (*file)->range(span->offset, span->length);
    if (!bytes) return within(place_, bytes.takeError());
    tensor_.bytes = *bytes;
    tensor_.owner = *file;
    tensor_.in_file = true;
    return done();
  }
  struct Span {
    std::string location;
    uint64_t offset, length;
  };
  llvm::Expected<Span> external_span(llvm::StringSet<>* unknown_keys) const {
    llvm::StringMap<std::string> entries;
    for (const auto& entry : proto_.external_data()) {
      const llvm::StringRef key = entry.key();
      if (key != "location" && key != "offset" && key != "length" && key != "checksum") {
        if (unknown_keys) unknown_keys->insert(key);
        continue;
      }
      if (!entries.try_emplace(key, entry.value()).second)
        return fault(Code::duplicate, "external data").what(key + " is given twice");
    }
    Span span{entries.lookup("location"), 0, uint64_t(wanted_bytes_)};
    if (span.location.empty()) return fault(Code::malformed, "external data").what("no location");
    for (auto [key, out] : {std::pair<const char*, uint64_t*>{"offset", &span.offset}, {"length", &span.length}})
      if (auto it = entries.find(key); it != entries.end()) {
        const llvm::StringRef text = it->second;
        if (text.empty() || text.find_first_not_of("0123456789") != llvm::StringRef::npos ||
            text.getAsInteger(10, *out))
          return fault(Code::malformed, "external data").what(key).expected("a number below 2^64").found(quoted(text));
      }
    // The sum itself is not compared: that would read all weights to make a plan.
    if (auto it = entries.find("checksum");
        it != entries.end() && (it->second.size() != 40 || !llvm::all_of(it->second, llvm::isHexDigit)))
      return fault(Code::malformed, "external data")
          .what("checksum")
          .expected("40 hexadecimal digits")
          .found(quoted(it->second));
    if (span.length != uint64_t(wanted_bytes_))
      return fault(Code::size_mismatch, "external data")
          .what("length")
          .expected(llvm::Twine(wanted_bytes_) + " bytes of its shape")
          .found(span.length);
    return span;
  }

  Loaded raw(std::shared_ptr<const void> owner) {
    if (int64_t(raw_->size()) != wanted_bytes_)
      return fault(Code::size_mismatch, "data").expected(llvm::Twine(wanted_bytes_) + " bytes").found(raw_->size());
    tensor_.bytes = *raw_;
    tensor_.owner = std::move(owner);
    return done();
  }
  Loaded from_field() {
    auto bytes = field_bytes();
    if (!bytes) return fault(Code::malformed, "data").what("an element does not fit in " + long_name(tensor_.dtype));
    if (int64_t(bytes->size()) != wanted_bytes_ || (fields_ > 0 && bytes->empty()))
      return fault(Code::size_mismatch, "data")
          .expected(llvm::Twine(count_) + " elements in the field of " + long_name(tensor_.dtype))
          .found(llvm::Twine(int64_t(bytes->size()) / size_bytes(tensor_.dtype)) +
                 (bytes->empty() && fields_ > 0 ? " and another field" : ""));
    return make_tensor(tensor_.dtype, tensor_.dims, std::move(*bytes));
  }
  std::optional<std::vector<char>> field_bytes() const {
    switch (tensor_.dtype) {
      case DType::f32:
        return packed<float>(proto_.float_data());
      case DType::f64:
        return packed<double>(proto_.double_data());
      case DType::i64:
        return packed<int64_t>(proto_.int64_data());
      case DType::u64:
        return packed<uint64_t>(proto_.uint64_data());
      case DType::u32:
        return packed<uint32_t>(proto_.uint64_data());
      case DType::i32:
        return packed<int32_t>(proto_.int32_data());
      case DType::f16:
      case DType::bf16:
      case DType::u16:
        return packed<uint16_t>(proto_.int32_data());
      case DType::i16:
        return packed<int16_t>(proto_.int32_data());
      case DType::i8:
        return packed<int8_t>(proto_.int32_data());
      default:
        return packed<uint8_t>(proto_.int32_data());
    }
  }

  const onnx::TensorProto& proto_;
  const Limits& limits_;
  const Where& place_;
  const bool is_external_ = proto_.data_location() == onnx::TensorProto::EXTERNAL;
  Tensor tensor_{.dtype = DType(proto_.data_type() > 0 && proto_.data_type() < 256 ? proto_.data_type() : 0)};
  int64_t count_ = 1, wanted_bytes_ = 0;
  std::optional<llvm::ArrayRef<char>> raw_;
  int fields_ = 0;  // of the message that have data
};
}  // namespace

llvm::Expected<std::shared_ptr<const Tensor>> load_tensor(const onnx::TensorProto& proto,
                                                          std::shared_ptr<const void> owner, InputFolder& folder,
                                                          const Limits& limits, const Where& place,
                                                          llvm::StringSet<>* unknown_keys) {
  return Loader(proto, limits, place).load(std::move(owner), folder, unknown_keys);
}

llvm::Expected<std::shared_ptr<const Tensor>> load_tensor(const onnx::TensorProto& proto, RawData data,
                                                          InputFolder& folder, const Limits& limits,
                                                          const Where& place) {
  return Loader(proto, limits, place, data).load(std::move(data.file), folder, /*unknown_keys=*/nullptr);
}

llvm::Expected<HostArray> read_tensor_file(llvm::StringRef path, const Limits& limits, std::string* name) {
  auto file = open_input_file(path, INT32_MAX);
  if (!file) return file.takeError();
  auto proto = std::make_shared<onnx::TensorProto>();
  const auto bytes = (*file)->bytes();
  if (bytes.empty()) return error(Code::not_this_format).in_file(path).what("the file is empty");
  // Any bytes of known shape parse as some message: only what has a type is a tensor.
  if (!proto->ParseFromArray(bytes.data(), int(bytes.size())) || proto->data_type() == 0)
    return error(Code::not_this_format).in_file(path).what("not an ONNX tensor");
  if (proto->data_location() == onnx::TensorProto::EXTERNAL)
    return error(Code::size_mismatch).in_file(path).what("external data").expected("the data in the file itself");
  InputFolder none;
  auto tensor = load_tensor(*proto, proto, none, limits, {file_place(path)});
  if (!tensor) return tensor.takeError();
  if ((*tensor)->dtype == DType::string)
    return error(Code::dtype_mismatch).in_file(path).what("dtype").expected("a number").found("string");
  HostArray out;
  out.dtype = (*tensor)->dtype;
  out.dims.assign((*tensor)->dims.begin(), (*tensor)->dims.end());
  out.bytes.assign((*tensor)->bytes.begin(), (*tensor)->bytes.end());
  if (auto e = (*file)->check_unchanged()) return e;
  if (name) *name = proto->name();
  return out;
}
}  // namespace optp
