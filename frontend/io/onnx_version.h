// The ONNX that is written, of ranks' graphs and of models built from a config: what Debian 12's ONNX 1.12 can read and
// check. The message types are the callers': this room reads no models.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

namespace optp {
constexpr int64_t written_ir_version = 8, written_opset = 17;

// The tensor's elements are `bytes` bytes of the file `location`, from `offset` on.
template <typename TensorProto>
void refer_to_data(TensorProto& t, const std::string& location, int64_t offset, int64_t bytes) {
  t.set_data_location(TensorProto::EXTERNAL);
  const std::pair<const char*, std::string> entries[] = {
      {"location", location}, {"offset", std::to_string(offset)}, {"length", std::to_string(bytes)}};
  for (const auto& [key, value] : entries) {
    auto& entry = *t.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
}
}  // namespace optp
