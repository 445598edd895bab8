// Which file is meant where a folder stands for a model.
#pragma once
#include <string>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {
// A path of a file as it is. Of a folder its one .onnx file, else its model.onnx, as Optimum names what it exports;
// where it has no such file, that of its folder onnx/. Errors: malformed where that leaves several, which are listed;
// file_not_found where it leaves none.
llvm::Expected<std::string> model_file(llvm::StringRef path);
}  // namespace optp
