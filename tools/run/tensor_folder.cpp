#include "tools/run/tensor_folder.h"

#include "frontend/io/npy.h"
#include "frontend/ir/diagnostic.h"
#include "frontend/onnx/tensor.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

namespace optp {

std::string file_name_of(llvm::StringRef tensor) {
  std::string file;
  for (char c : tensor.take_front(200)) file += llvm::isAlnum(c) || c == '.' || c == '_' || c == '-' ? c : '_';
  return file.empty() || file[0] == '.' ? "_" + file : file;
}

llvm::Expected<TensorFolder> TensorFolder::open(llvm::StringRef folder, Kind kind) {
  TensorFolder out;
  out.folder_ = folder.str();
  out.kind_ = kind == Kind::inputs ? "input" : "output";
  for (size_t k = 0;; ++k) {
    Numbered one;
    one.file = out.folder_ + "/" + out.kind_ + "_" + std::to_string(k) + ".pb";
    if (!llvm::sys::fs::exists(one.file)) return out;
    auto array = read_tensor_file(one.file, {}, &one.name);
    if (!array) return array.takeError();
    one.array = std::move(*array);
    out.numbered_.push_back(std::move(one));
  }
}

std::optional<std::string> TensorFolder::file_of(llvm::StringRef name, std::optional<size_t> number) const {
  const std::string path = folder_ + "/" + file_name_of(name);
  std::string npy = path + ".npy", pb = path + ".pb";
  if (llvm::sys::fs::exists(npy)) return npy;
  for (const Numbered& one : numbered_)
    if (one.name == name) return one.file;
  // A file that the model's own names explain is not taken for a number.
  if (llvm::sys::fs::exists(pb)) return pb;
  if (number && *number < numbered_.size() && numbered_[*number].name.empty()) return numbered_[*number].file;
  return std::nullopt;
}

llvm::Expected<std::optional<TensorFolder::Found>> TensorFolder::find(llvm::StringRef name,
                                                                      std::optional<size_t> number) const {
  const auto file = file_of(name, number);
  if (!file) return std::nullopt;
  for (const Numbered& one : numbered_)
    if (one.file == *file) return Found{one.file, one.array};
  auto array = llvm::StringRef(*file).ends_with(".pb") ? read_tensor_file(*file) : read_npy(*file);
  if (!array) return array.takeError();
  return Found{*file, std::move(*array)};
}

llvm::Error TensorFolder::none_of(llvm::StringRef name) const {
  const std::string path = folder_ + "/" + file_name_of(name);
  if (numbered_.empty()) return error(Code::file_not_found).in_file(path + ".npy").what("no such file");
  std::string there;
  for (const Numbered& one : numbered_)
    there += (there.empty() ? "" : ", ") + (one.name.empty() ? "one without a name" : quoted(one.name));
  return error(Code::file_not_found)
      .in_file(folder_)
      .expected(llvm::Twine(kind_) + " " + quoted(name) + ", in " + file_name_of(name) + ".npy or in a numbered file")
      .found(there)
      .about({.tensor = name.str()});
}
}  // namespace optp
