#include "frontend/ir/axis_use.h"

namespace optp {
namespace {
constexpr llvm::StringRef once = ".once";
}

AxisUse axis_use(llvm::StringRef word) {
  AxisUse out;
  auto [axis, group] = word.split('/');
  out.once = group.consume_back(once);
  if (group.empty() || group.getAsInteger(10, out.group) || out.group < 2) return {word};
  out.axis = axis;
  return out;
}
std::string to_string(const AxisUse& use) {
  std::string out = use.axis.str();
  if (use.is_cover()) out += "/" + std::to_string(use.group);
  return use.once ? out + once.str() : out;
}
}  // namespace optp
