// Writes an ONNX graph node by node in the manner of PyTorch's legacy exporter: `/model/decoder/Gather_1`, its result
// `/model/decoder/Gather_1_output_0`. Weights are not here: only their names, shapes and places in the data file.
#pragma once
#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "frontend/models/random_weights.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"

namespace optp {

struct OnnxAttribute {
  const char* name;
  std::variant<int64_t, float, std::vector<int64_t>> value;
};

class GraphWriter {
 public:
  GraphWriter(llvm::StringRef name, std::string data_file);

  std::string input(llvm::StringRef name, onnx::TensorProto_DataType dtype, llvm::ArrayRef<llvm::StringRef> dims);
  // The value gets this name instead of its own. A dim is a name or a number.
  void output(llvm::StringRef value, llvm::StringRef name, llvm::ArrayRef<std::string> dims);
  std::string parameter(llvm::StringRef name, llvm::ArrayRef<int64_t> dims, float mean = 0);
  std::string node(llvm::StringRef scope, llvm::StringRef op, llvm::ArrayRef<std::string> inputs,
                   llvm::ArrayRef<OnnxAttribute> attributes = {});
  std::string scalar(llvm::StringRef scope, int64_t value);
  std::string scalar(llvm::StringRef scope, float value);
  std::string list(llvm::StringRef scope, llvm::ArrayRef<int64_t> values);
  std::string filled(llvm::StringRef scope, const std::string& shape, bool value);  // a bool tensor of this shape

  const std::vector<RandomParameter>& parameters() const { return parameters_; }
  std::string serialized() const;

 private:
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }
  void set_tensor(onnx::TensorProto tensor);  // attribute `value` of the last node
  std::string constant(llvm::StringRef scope, onnx::TensorProto tensor);

  onnx::ModelProto model_;
  std::string data_file_;
  std::vector<RandomParameter> parameters_;
  int64_t end_bytes_ = 0;      // of the data file so far: 64 bits, opt-175b has 700 GB
  llvm::StringMap<int> used_;  // how many nodes of a scope have this operator
};

}  // namespace optp
