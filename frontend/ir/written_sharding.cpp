#include "frontend/ir/written_sharding.h"

namespace optp {

std::optional<AxisUses> written_axes(llvm::StringRef word) {
  AxisUses out;
  if (word == "_") return out;
  llvm::SmallVector<llvm::StringRef, 2> names;
  word.split(names, '*');
  for (llvm::StringRef name : names) {
    if (name.empty() || name == "_" || name.find_first_of("[](),*: ") != llvm::StringRef::npos) return std::nullopt;
    out.push_back(axis_use(name));
  }
  return out;
}
namespace {
std::optional<llvm::SmallVector<AxisUses, 2>> written_factors(llvm::StringRef part) {
  llvm::SmallVector<AxisUses, 2> out;
  llvm::SmallVector<llvm::StringRef, 4> words;
  if (!part.consume_front("(") || !part.consume_back(")")) return std::nullopt;
  part.split(words, ' ', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef word : words) {
    auto axes = written_axes(word);
    if (!axes) return std::nullopt;
    out.push_back(std::move(*axes));
  }
  if (out.empty()) return std::nullopt;
  return out;
}
std::optional<WrittenDim> written_dim(llvm::StringRef text) {
  WrittenDim out;
  if (!text.starts_with("(")) {
    auto axes = written_axes(text);
    if (!axes) return std::nullopt;
    out.parts.push_back({std::move(*axes)});
    return out;
  }
  out.by_factors = true;
  llvm::SmallVector<llvm::StringRef, 1> parts;
  text.split(parts, '+');
  for (llvm::StringRef part : parts) {
    auto factors = written_factors(part.trim());
    if (!factors) return std::nullopt;
    out.parts.push_back(std::move(*factors));
  }
  return out;
}
}  // namespace

std::optional<llvm::SmallVector<WrittenDim, 4>> written_dims(llvm::StringRef text) {
  llvm::SmallVector<WrittenDim, 4> out;
  if (!text.consume_front("[") || !text.consume_back("]")) return std::nullopt;
  llvm::SmallVector<llvm::StringRef, 4> words;
  if (!text.trim().empty()) text.split(words, ',');
  for (llvm::StringRef word : words) {
    auto dim = written_dim(word.trim());
    if (!dim) return std::nullopt;
    out.push_back(std::move(*dim));
  }
  return out;
}
}  // namespace optp
