// A folder of arrays that a run gives.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "frontend/ir/host_array.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace optp {
struct ResultFolder {
  std::string path;
  bool overwrite = false;                               // whatever it holds is replaced
  std::vector<std::string> inputs;                      // files and folders that this run reads
  std::function<bool(llvm::StringRef file)> is_result;  // of this run, or one that an earlier run of its kind left
};
// May the results go there? Errors: is_an_input where an input is the folder or lies in it, also with `overwrite`;
// occupied by what is no result.
llvm::Error check_free(const ResultFolder& folder);
// All outputs or none: they lie in a hidden folder until the last is written. With `overwrite`, nothing else stays.
// `index`: text of an index.json; empty: none. Errors: cannot_write, interrupted.
llvm::Error write_outputs(const ResultFolder& folder, llvm::ArrayRef<std::string> files,
                          llvm::ArrayRef<HostArray> arrays, llvm::StringRef index);
}  // namespace optp
