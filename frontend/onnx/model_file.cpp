#include "frontend/onnx/model_file.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "frontend/ir/diagnostic.h"

namespace optp {
namespace {
namespace fs = std::filesystem;

std::vector<std::string> models_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code, ignored;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    if (it->path().extension() == ".onnx" && !it->is_directory(ignored))
      names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}
}  // namespace

llvm::Expected<std::string> model_file(llvm::StringRef path) {
  std::error_code ignored;
  if (!fs::is_directory(path.str(), ignored)) return path.str();
  fs::path folder = path.str();
  std::vector<std::string> names = models_in(folder);
  if (names.empty()) names = models_in(folder /= "onnx");
  if (names.empty()) return error(Code::file_not_found).in_file(path).what("the folder has no .onnx file");
  std::string name = names[0];
  if (names.size() > 1) {
    name = "model.onnx";
    std::string all;
    for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
    if (!std::binary_search(names.begin(), names.end(), name))
      return error(Code::malformed)
          .in_file(path)
          .what("models")
          .expected("one, or a model.onnx")
          .found(all)
          .hint("give the file, as " + (folder / names[0]).string());
  }
  return (folder / name).string();
}
}  // namespace optp
