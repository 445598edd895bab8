// A folder with one array a file: NAME.npy or NAME.pb, or numbered as ONNX's test data are.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "frontend/ir/host_array.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// What a tensor's file is called: no string from a model becomes a path as it is.
std::string file_name_of(llvm::StringRef tensor);

// ONNX's own tests lay out test_data_set_0/input_0.pb, input_1.pb … and output_0.pb … A tensor in such a file may carry
// its name; one that carries none is the model's input (output) of that number.
class TensorFolder {
 public:
  enum class Kind { inputs, outputs };
  static llvm::Expected<TensorFolder> open(llvm::StringRef folder, Kind kind);

  struct Found {
    std::string file;  // for messages
    HostArray array;
  };
  // `number`: which of the model's inputs (outputs) it is; none of something that is no input of the file's graph.
  llvm::Expected<std::optional<Found>> find(llvm::StringRef name, std::optional<size_t> number) const;
  std::optional<std::string> file_of(llvm::StringRef name, std::optional<size_t> number) const;
  // What is there, where nothing was found.
  llvm::Error none_of(llvm::StringRef name) const;

 private:
  struct Numbered {
    std::string file, name;
    HostArray array;
  };
  std::string folder_;
  const char* kind_ = "";
  std::vector<Numbered> numbered_;
};

}  // namespace optp
