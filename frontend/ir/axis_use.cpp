#include "frontend/ir/axis_use.h"

#include "llvm/ADT/STLExtras.h"

namespace optp {
namespace {
constexpr llvm::StringRef once = ".once";
}

AxisUse axis_use(llvm::StringRef word) {
  auto [axis, text] = word.split('/');
  const bool is_once = text.consume_back(once);
  int64_t group = 1;
  if (text.empty() || text.getAsInteger(10, group) || group < 2) return word;
  return {axis, group, is_once};
}
std::string to_string(const AxisUse& use) {
  std::string out = use.axis;
  if (use.is_cover()) out += "/" + std::to_string(use.group);
  return use.once ? out + once.str() : out;
}
std::string joined(llvm::ArrayRef<AxisUse> uses, llvm::StringRef separator) {
  std::string out;
  for (const AxisUse& use : uses) out += (out.empty() ? "" : separator.str()) + to_string(use);
  return out;
}
bool has_cover(llvm::ArrayRef<AxisUse> uses) {
  return llvm::any_of(uses, [](const AxisUse& use) { return use.is_cover(); });
}
bool are_over(llvm::ArrayRef<AxisUse> uses, llvm::StringRef axis) {
  return llvm::any_of(uses, [&](const AxisUse& use) { return use.axis == axis; });
}
}  // namespace optp
