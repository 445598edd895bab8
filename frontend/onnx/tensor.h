// Tensors of ONNX files: in the message, or in files beside it.
#pragma once
#include <memory>

#include "frontend/io/input_folder.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/ir/host_array.h"
#include "frontend/ir/tensor.h"
#include "llvm/ADT/StringSet.h"

namespace onnx {
class TensorProto;
class ModelProto;
}  // namespace onnx

namespace optp {

// `owner` keeps the message alive; bytes of raw_data are not copied. `place` begins each error: "FILE: initializer
// 'w'". Keys of external data that are not known are passed over and put into `unknown_keys`.
llvm::Expected<std::shared_ptr<const Tensor>> load_tensor(const onnx::TensorProto& proto,
                                                          std::shared_ptr<const void> owner, InputFolder& folder,
                                                          const Limits& limits, const Where& place,
                                                          llvm::StringSet<>* unknown_keys = nullptr);

// Of a message whose raw_data were left in its file.
struct RawData {
  llvm::ArrayRef<char> bytes;
  std::shared_ptr<const void> file;
};
llvm::Expected<std::shared_ptr<const Tensor>> load_tensor(const onnx::TensorProto& proto, RawData data,
                                                          InputFolder& folder, const Limits& limits,
                                                          const Where& place);

// A file that is one TensorProto, as ONNX's test data are. Its data lie in the file itself. `name` gets the tensor's,
// which may be empty.
llvm::Expected<HostArray> read_tensor_file(llvm::StringRef path, const Limits& limits = {},
                                           std::string* name = nullptr);
}  // namespace optp
