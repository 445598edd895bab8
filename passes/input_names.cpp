#include "passes/input_names.h"

namespace optp {

InputName input_name(llvm::StringRef name) {
  if (name == "input_ids") return InputName::input_ids;
  if (name.contains("position")) return InputName::positions;
  if (name.contains("mask")) return InputName::mask;
  if (name.contains("type")) return InputName::token_types;
  return InputName::other;
}
}  // namespace optp
