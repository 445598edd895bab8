// Pages of mapped files.
#pragma once
#include "llvm/ADT/ArrayRef.h"

namespace optp {
// Gives the memory of these bytes back; whoever reads them again gets them from the file. Only for pages of a file that
// were never written.
void let_go(llvm::ArrayRef<char> bytes);
}  // namespace optp
