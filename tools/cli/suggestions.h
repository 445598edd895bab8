// What a word that is not known was perhaps meant to be.
#pragma once
#include <CLI/CLI.hpp>
#include <initializer_list>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"

namespace optp {

// Declares beside a flag what other programs call it, without dashes. Such a word is not accepted: whoever types it is
// told the flag.
CLI::Option* also_called(CLI::Option* flag, std::initializer_list<const char*> elsewhere);

std::vector<std::string> flags_of(const CLI::App& app);  // "--devices", "--tp"
// Of `known` the nearest word by its letters, or one that begins with it; empty: none is near.
std::string nearest_word(llvm::StringRef word, const std::vector<std::string>& known);
// The verb's flag that `flag` names by its meaning or nearly by its letters; empty: none does.
std::string nearest_flag(llvm::StringRef flag, const CLI::App& verb);
std::string flag_beginning_with(llvm::StringRef flag, const CLI::App& verb);

}  // namespace optp
