// What the processes of a run must have in common.
#pragma once
#include <string>

#include "runtime/comm/world.h"

namespace optp {

// Together. All must give the same text; the error says what differs, and for which rank. `noun` is what the world's
// ranks are called there.
llvm::Error same(World& world, llvm::StringRef what, llvm::function_ref<std::string()> here,
                 llvm::StringRef noun = "rank");

}  // namespace optp
