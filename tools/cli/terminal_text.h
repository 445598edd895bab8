// Text that fits a terminal's width.
#pragma once
#include <string>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {

constexpr size_t terminal_width = 80;
size_t columns(llvm::StringRef text);  // of UTF-8, each character one
std::string padded(std::string text, size_t columns);
std::string fit(std::string text, size_t columns);  // a name's end says most: of what is too long, the beginning goes
void print_wrapped(llvm::raw_ostream& out, llvm::StringRef text, size_t indent);

}  // namespace optp
