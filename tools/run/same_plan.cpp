#include "tools/run/same_plan.h"

#include "frontend/io/input_folder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"
#include "runtime/comm/agreement.h"

namespace optp {
namespace {
std::string hash_of(llvm::StringRef text) { return llvm::utohexstr(llvm::xxh3_64bits(text), /*LowerCase=*/true); }
}  // namespace

llvm::Error same_plan(World& world, llvm::StringRef folder) {
  return same(world, "hash of the plan", [&] {
    std::string text;
    // One that is not there is the same everywhere, or it differs from one that is.
    for (const char* name : {"/plan.json", "/manifest.json"}) {
      auto file = open_input_file((folder + name).str());
      if (file)
        text += (*file)->text();
      else
        llvm::consumeError(file.takeError());
    }
    return hash_of(text);
  });
}

llvm::Error same_plan(World& world, const Graph& spmd) {
  return same(world, "hash of the ranks' graph", [&] { return hash_of(to_string(spmd)); });
}

}  // namespace optp
