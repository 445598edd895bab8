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

llvm::Expected<std::shared_ptr<const Tensor>> external(const onnx::TensorProto& proto, Tensor tensor, int64_t wanted,
                                                       InputFolder& folder, const Where& place,
                                                       llvm::StringSet<>* unknown_keys) {
  llvm::StringMap<std::string> entries;
  for (const auto& entry : proto.external_data()) {
    const llvm::StringRef key = entry.key();
    if (key != "location" && key != "offset" && key != "length" && key != "checksum") {
      if (unknown_keys) unknown_keys->insert(key);
      continue;
    }
    if (!entries.try_emplace(key, entry.value()).second)
      return error(Code::duplicate).at(place).what("external data").what(key + " is given twice");
  }
  const std::string location = entries.lookup("location");
  if (location.empty()) return error(Code::malformed).at(place).what("external data").what("no location");
  uint64_t offset = 0, length = uint64_t(wanted);
  for (auto [key, out] : {std::pair<const char*, uint64_t*>{"offset", &offset}, {"length", &length}})
    if (auto it = entries.find(key); it != entries.end()) {
      const llvm::StringRef text = it->second;
      if (text.empty() || text.find_first_not_of("0123456789") != llvm::StringRef::npos || text.getAsInteger(10, *out))
        return error(Code::malformed)
            .at(place)
            .what("external data")
            .what(key)
            .expected("a number below 2^64")
            .found(quoted(text));
    }
  // The sum itself is not compared: that would read all weights to make a plan.
  if (auto it = entries.find("checksum");
      it != entries.end() && (it->second.size() != 40 || !llvm::all_of(it->second, llvm::isHexDigit)))
    return error(Code::malformed)
        .at(place)
        .what("external data")
        .what("checksum")
        .expected("40 hexadecimal digits")
        .found(quoted(it->second));
  if (length != uint64_t(wanted))
    return error(Code::size_mismatch)
        .at(place)
        .what("external data")
        .what("length")
        .expected(llvm::Twine(wanted) + " bytes of its shape")
        .found(length);
  auto file = folder.open(location);
  if (!file) {
    // A file that is not there still leaves a graph to plan; any other fault is one.
    llvm::Error rest = llvm::handleErrors(file.takeError(), [&](std::unique_ptr<Diagnostic> d) -> llvm::Error {
      if (d->fault() == Fault::not_found) {
        tensor.missing = location;
        return llvm::Error::success();
      }
      return llvm::Error(std::move(d));
    });
    if (rest) return within(place, std::move(rest));
    return std::make_shared<const Tensor>(std::move(tensor));
  }
  auto bytes = (*file)->range(offset, length);
  if (!bytes) return within(place, bytes.takeError());
  tensor.bytes = *bytes;
  tensor.owner = *file;
  return std::make_shared<const Tensor>(std::move(tensor));
}
}  // namespace

llvm::Expected<std::shared_ptr<const Tensor>> load_tensor(const onnx::TensorProto& proto,
                                                          std::shared_ptr<const void> owner, InputFolder& folder,
                                                          const Limits& limits, const Where& place,
                                                          llvm::StringSet<>* unknown_keys) {
  Tensor tensor;
  tensor.dtype = DType(proto.data_type() > 0 && proto.data_type() < 256 ? proto.data_type() : 0);
  if (proto.dims_size() > limits.max_ndim)
    return error(Code::too_large)
        .at(place)
        .what("dims")
        .expected("at most " + llvm::Twine(limits.max_ndim))
        .found(proto.dims_size());
  tensor.dims.assign(proto.dims().begin(), proto.dims().end());
  for (int64_t d : tensor.dims)
    if (d < 0) return error(Code::shape_mismatch).at(place).what("dims").expected("no negative extent").found(d);
  int64_t count = 1;
  for (int64_t d : tensor.dims) {
    // An extent of 0 does not excuse the others: strides are products of some of them.
    auto next = checked_mul(count, std::max<int64_t>(d, 1));
    if (!next || *next > limits.max_elements)
      return error(Code::too_large)
          .at(place)
          .what("dims")
          .what("more than " + llvm::Twine(limits.max_elements) + " elements");
    count = *next;
  }
  if (llvm::is_contained(tensor.dims, 0)) count = 0;
  const bool is_external = proto.data_location() == onnx::TensorProto::EXTERNAL;
  if (tensor.dtype == DType::string) {  // kept by type only: what uses it is reported there
    if (proto.has_raw_data() || is_external || proto.string_data_size() != count)
      return error(Code::size_mismatch)
          .at(place)
          .what("data")
          .expected(llvm::Twine(count) + " strings")
          .found(llvm::Twine(proto.string_data_size()) + (proto.has_raw_data() ? " and raw data" : ""));
    tensor.missing = "a string tensor";
    return std::make_shared<const Tensor>(std::move(tensor));
  }
  if (size_bytes(tensor.dtype) == 0)
    return error(Code::dtype_mismatch)
        .at(place)
        .what("dtype")
        .expected("a numeric type")
        .found("ONNX type " + llvm::Twine(proto.data_type()));
  const int64_t wanted = count * size_bytes(tensor.dtype);
  const int fields = proto.has_raw_data() + (proto.float_data_size() > 0) + (proto.int32_data_size() > 0) +
                     (proto.int64_data_size() > 0) + (proto.double_data_size() > 0) + (proto.uint64_data_size() > 0) +
                     (proto.string_data_size() > 0);
  if (fields + is_external > 1)
    return error(Code::malformed).at(place).what("data").expected("one field").found(fields + is_external);
  if (is_external) return external(proto, std::move(tensor), wanted, folder, place, unknown_keys);
  if (proto.external_data_size() > 0)
    return error(Code::size_mismatch)
        .at(place)
        .what("external data")
        .expected("none, as the data location is not external");
  if (proto.has_segment()) return error(Code::not_supported).at(place).what("data").what("segments are not supported");
  if (proto.has_raw_data()) {
    if (int64_t(proto.raw_data().size()) != wanted)
      return error(Code::size_mismatch)
          .at(place)
          .what("data")
          .expected(llvm::Twine(wanted) + " bytes")
          .found(proto.raw_data().size());
    tensor.bytes = llvm::ArrayRef<char>(proto.raw_data().data(), proto.raw_data().size());
    tensor.owner = std::move(owner);
    return std::make_shared<const Tensor>(std::move(tensor));
  }
  std::optional<std::vector<char>> bytes;
  switch (tensor.dtype) {
    case DType::f32:
      bytes = packed<float>(proto.float_data());
      break;
    case DType::f64:
      bytes = packed<double>(proto.double_data());
      break;
    case DType::i64:
      bytes = packed<int64_t>(proto.int64_data());
      break;
    case DType::u64:
      bytes = packed<uint64_t>(proto.uint64_data());
      break;
    case DType::u32:
      bytes = packed<uint32_t>(proto.uint64_data());
      break;
    case DType::i32:
      bytes = packed<int32_t>(proto.int32_data());
      break;
    case DType::f16:
    case DType::bf16:
    case DType::u16:
      bytes = packed<uint16_t>(proto.int32_data());
      break;
    case DType::i16:
      bytes = packed<int16_t>(proto.int32_data());
      break;
    case DType::i8:
      bytes = packed<int8_t>(proto.int32_data());
      break;
    default:
      bytes = packed<uint8_t>(proto.int32_data());
      break;
  }
  if (!bytes)
    return error(Code::malformed).at(place).what("data").what("an element does not fit in " + long_name(tensor.dtype));
  if (int64_t(bytes->size()) != wanted || (fields > 0 && bytes->empty()))
    return error(Code::size_mismatch)
        .at(place)
        .what("data")
        .expected(llvm::Twine(count) + " elements in the field of " + long_name(tensor.dtype))
        .found(llvm::Twine(int64_t(bytes->size()) / size_bytes(tensor.dtype)) +
               (bytes->empty() && fields > 0 ? " and another field" : ""));
  return make_tensor(tensor.dtype, tensor.dims, std::move(*bytes));
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
