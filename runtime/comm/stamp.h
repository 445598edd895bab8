// A call and its group as bytes: what goes with every message of a collective. Equal bytes are equal calls.
#pragma once
#include <optional>
#include <string>

#include "llvm/ADT/StringRef.h"
#include "runtime/comm/call.h"

namespace optp {

std::string write_stamp(const CollectiveCall& call);
std::optional<CollectiveCall> read_stamp(llvm::StringRef bytes);  // none: it is damaged

}  // namespace optp
