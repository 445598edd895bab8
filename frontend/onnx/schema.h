// What ONNX's schemas differ in: the one place that knows. Debian 12 has version 1.12, Debian 13 has 1.17; fields that
// came after 1.12 (IR 9 and 10) are members of the one and among the unknown fields of the other.
#pragma once
#include <google/protobuf/unknown_field_set.h>
#include <onnx/onnx_pb.h>

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace optp::schema {

namespace detail {
// Strings and messages of the field `number`, as bytes.
template <typename Message>
std::vector<std::string> unknown_fields(const Message& message, int number) {
  std::vector<std::string> out;
  const google::protobuf::UnknownFieldSet& fields = message.unknown_fields();
  for (int k = 0; k < fields.field_count(); ++k)
    if (fields.field(k).number() == number &&
        fields.field(k).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      out.push_back(fields.field(k).length_delimited());
  return out;
}
// None where bytes are no such message: where the field is known, parsing the file has refused them.
template <typename Part>
std::optional<std::vector<Part>> parsed(const std::vector<std::string>& all) {
  std::vector<Part> out;
  for (const std::string& bytes : all)
    if (!out.emplace_back().ParseFromString(bytes)) return std::nullopt;
  return out;
}
}  // namespace detail

// NodeProto.metadata_props and ValueInfoProto.metadata_props.
template <typename Message>
std::vector<onnx::StringStringEntryProto> metadata_of(const Message& message) {
  constexpr int number = std::is_same_v<Message, onnx::ValueInfoProto> ? 4 : 9;
  if constexpr (requires { message.metadata_props(); })
    return {message.metadata_props().begin(), message.metadata_props().end()};
  else
    return detail::parsed<onnx::StringStringEntryProto>(detail::unknown_fields(message, number))
        .value_or(std::vector<onnx::StringStringEntryProto>());
}
// NodeProto.overload and FunctionProto.overload; empty where there is none.
template <typename Message>
std::string overload_of(const Message& message) {
  if constexpr (requires { message.overload(); }) {
    return message.overload();
  } else {
    const auto all = detail::unknown_fields(message, std::is_same_v<Message, onnx::FunctionProto> ? 13 : 8);
    return all.empty() ? std::string() : all.back();
  }
}
// FunctionProto.attribute_proto: attributes that a call need not give. None where it is malformed.
template <typename Function = onnx::FunctionProto>
std::optional<std::vector<onnx::AttributeProto>> default_attributes(const Function& function) {
  if constexpr (requires { function.attribute_proto(); })
    return std::vector<onnx::AttributeProto>(function.attribute_proto().begin(), function.attribute_proto().end());
  else
    return detail::parsed<onnx::AttributeProto>(detail::unknown_fields(function, 11));
}

}  // namespace optp::schema
