// A folder with all that is in it, links never followed: someone who swaps a folder for a link cannot send us
// elsewhere.
#pragma once
#include <string>

#include "frontend/io/files.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

namespace optp {

Descriptor open_folder(int at, const char* name);
// Calls visit(relative name, status) for all that is in a folder, at any depth. False if it could not look everywhere.
bool visit_tree(int folder, llvm::function_ref<void(const std::string&, const struct stat&)> visit);
bool remove_tree(int parent, const char* name);

}  // namespace optp
