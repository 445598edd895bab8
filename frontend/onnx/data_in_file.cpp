#include "frontend/onnx/data_in_file.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <onnx/onnx_pb.h>

#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
using google::protobuf::internal::WireFormatLite;
constexpr size_t large = 64 << 10;  // smaller data may as well be copied

// A field as it stands on the wire.
struct Field {
  int number;
  bool is_delimited;                  // bytes, text or a message
  llvm::ArrayRef<char> all, content;  // with tag and length; without, where it is delimited
};
// False where the bytes are no message.
bool each_field(llvm::ArrayRef<char> bytes, llvm::function_ref<bool(const Field&)> visit) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), int(bytes.size()));
  in.SetTotalBytesLimit(int(bytes.size()));
  while (true) {
    const size_t begin = size_t(in.CurrentPosition());
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return begin == bytes.size();
    Field field{.number = WireFormatLite::GetTagFieldNumber(tag),
                .is_delimited = WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED};
    if (field.is_delimited) {
      uint32_t length = 0;
      if (!in.ReadVarint32(&length)) return false;
      const size_t at = size_t(in.CurrentPosition());
      if (length > bytes.size() - at || !in.Skip(int(length))) return false;
      field.content = bytes.slice(at, length);
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
    field.all = bytes.slice(begin, size_t(in.CurrentPosition()) - begin);
    if (!visit(field)) return false;
  }
}
void append(std::string& to, llvm::ArrayRef<char> bytes) { to.append(bytes.data(), bytes.size()); }
void append(std::string& to, int number, const std::string& message) {
  google::protobuf::io::StringOutputStream stream(&to);
  google::protobuf::io::CodedOutputStream out(&stream);
  out.WriteTag(WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  out.WriteVarint32(uint32_t(message.size()));
  out.WriteString(message);
}

// A TensorProto without its raw_data, which are given; empty where they are small, or written more than once.
bool cut_tensor(llvm::ArrayRef<char> bytes, std::string& out, llvm::ArrayRef<char>& raw_data) {
  int found = 0;
  const bool good = each_field(bytes, [&](const Field& f) {
    if (f.number == onnx::TensorProto::kRawDataFieldNumber) ++found, raw_data = f.content;
    return f.number != onnx::TensorProto::kRawDataFieldNumber || f.is_delimited;
  });
  if (!good) return false;
  if (found != 1 || raw_data.size() < large) raw_data = {};
  return each_field(bytes, [&](const Field& f) {
    if (raw_data.empty() || f.number != onnx::TensorProto::kRawDataFieldNumber) append(out, f.all);
    return true;
  });
}
bool cut_graph(llvm::ArrayRef<char> bytes, ParsedApart& apart, std::string& out) {
  return each_field(bytes, [&](const Field& f) {
    if (f.number != onnx::GraphProto::kInitializerFieldNumber) return append(out, f.all), true;
    std::string tensor;
    if (!f.is_delimited || !cut_tensor(f.content, tensor, apart.raw_data.emplace_back())) return false;
    append(out, f.number, tensor);
    return true;
  });
}
}  // namespace

ParsedApart cut_out_data(llvm::ArrayRef<char> bytes) {
  ParsedApart out;
  const bool good = each_field(bytes, [&](const Field& f) {
    if (f.number != onnx::ModelProto::kGraphFieldNumber) return append(out.message, f.all), true;
    std::string graph;
    if (!f.is_delimited || !cut_graph(f.content, out, graph)) return false;
    append(out.message, f.number, graph);
    return true;
  });
  if (!good || llvm::all_of(out.raw_data, [](llvm::ArrayRef<char> data) { return data.empty(); })) return {};
  return out;
}
}  // namespace optp
