// Sizes of memory as people write them.
#pragma once
#include <cstdint>
#include <string>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {
// kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024, and so are the bare letters K, M, G and T, as
// coreutils has it. A fraction may stand before a unit; a number alone counts bytes. Case says nothing. Errors:
// bad_value, with the flag.
llvm::Expected<int64_t> parse_size(llvm::StringRef flag, llvm::StringRef text);
extern const char* const size_help;  // the above, for a flag's help
}  // namespace optp
