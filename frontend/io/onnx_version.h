// The ONNX that is written, of ranks' graphs and of models built from a config: what Debian 12's ONNX 1.12 can read and
// check.
#pragma once
#include <cstdint>

namespace optp {
constexpr int64_t written_ir_version = 8, written_opset = 17;
}  // namespace optp
