#include "frontend/onnx/model.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"

namespace optp {
namespace {
constexpr size_t most_bytes = 256;  // of a named extent: a sum of n terms takes n² to make canonical
constexpr size_t most_bytes_of_ours = 4096;

bool in_word(llvm::StringRef text, size_t k) {
  return k < text.size() && (llvm::isAlnum(text[k]) || llvm::StringRef("_.:-").contains(text[k]) || (text[k] & 0x80));
}
// Signs + - / have a blank on both sides, except a minus in front of a term and one within a word. "batch-size", "N/A"
// and "a+b" are names; "past + sequence", "2*s0", "s0//2" and "-s0 + 5" are not.
bool written_as_expression(llvm::StringRef text) {
  if (text.contains('\'')) return false;
  for (size_t k = 0; k < text.size(); ++k) {
    const char c = text[k];
    if (c != '+' && c != '-' && c != '/') continue;
    if (text.substr(k).starts_with("//")) {
      ++k;
      continue;
    }
    const bool blank_before = k > 0 && text[k - 1] == ' ', blank_after = text.substr(k + 1).starts_with(" ");
    const llvm::StringRef before = text.take_front(k).rtrim();
    if (c == '-' && k > 0 && in_word(text, k - 1) && in_word(text, k + 1)) continue;
    if (c == '-' && (before.empty() || llvm::StringRef("(,*/+-").contains(before.back())) && !blank_after) continue;
    if (!blank_before || !blank_after) return false;
  }
  return true;
}
std::optional<Dim> expression(llvm::StringRef text, size_t most_bytes, const DimBounds& bounds) {
  if (text.size() > most_bytes) return std::nullopt;
  auto dim = parse_dim(text, bounds);
  if (!dim) {
    llvm::consumeError(dim.takeError());
    return std::nullopt;
  }
  // part and start are ours: a rank's extents, never a file's.
  if (dim->constant() || has_rank_terms(*dim)) return std::nullopt;
  return *dim;
}
}  // namespace

DimNames::DimNames(const onnx::GraphProto& graph, bool ours) : ours_(ours) {
  for (const auto& v : graph.input())
    for (const auto& d : v.type().tensor_type().shape().dim())
      if (d.has_dim_param()) taken_.insert(d.dim_param());
}

// A name that no text of the file is.
std::string DimNames::fresh(llvm::StringRef wanted) {
  std::string name = wanted.str();
  for (int k = 1; !taken_.insert(name).second; ++k) name = wanted.str() + "." + std::to_string(k);
  return name;
}
std::string DimNames::name_for(llvm::StringRef text) {
  if (text.size() <= most_bytes && llvm::json::isUTF8(text)) return text.str();
  auto [it, is_new] = made_.try_emplace(("text " + text).str());
  if (is_new) it->second = fresh(llvm::json::fixUTF8(text.take_front(100)));
  return it->second;
}
Dim DimNames::of(const onnx::TensorShapeProto::Dimension& dim, llvm::StringRef input, int index,
                 const DimBounds& bounds) {
  const std::string& text = dim.dim_param();
  if (text.empty()) {
    auto [it, is_new] = made_.try_emplace(("input " + input + "." + llvm::Twine(index)).str());
    const std::string wanted = llvm::json::fixUTF8(input.take_front(100)) + "." + std::to_string(index);
    if (is_new) it->second = fresh(wanted);
    return bounds.symbol(it->second);
  }
  if (ours_ || written_as_expression(text))
    if (auto dim = expression(text, ours_ ? most_bytes_of_ours : most_bytes, bounds)) return *dim;
  return bounds.symbol(name_for(text));
}
}  // namespace optp
