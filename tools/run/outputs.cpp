#include "tools/run/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "frontend/io/interrupts.h"
#include "frontend/io/npy.h"
#include "frontend/io/output_transaction.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/raw_ostream.h"

namespace optp {
llvm::Error write_outputs(const std::string& folder, llvm::ArrayRef<std::string> files,
                          llvm::ArrayRef<HostArray> arrays, llvm::StringRef index) {
  namespace fs = std::filesystem;
  const auto failed = [&](int error_number) {
    return error(Code::cannot_write).in_file(folder).what(reason(error_number));
  };
  const DeferInterrupts defer;
  const bool made = mkdir(folder.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) return failed(errno);
  std::string hidden = folder + "/.run-XXXXXX";
  if (!mkdtemp(hidden.data())) return failed(errno);
  const auto clean = llvm::make_scope_exit([&] {
    std::error_code ignored;
    fs::remove_all(hidden, ignored);
    if (made) rmdir(folder.c_str());  // only if nothing is in it
  });
  for (size_t k = 0; k < files.size(); ++k) {
    if (auto e = write_npy(hidden + "/" + files[k], arrays[k])) return e;
    if (interrupting_signal()) return error(Code::interrupted).in_file(folder).what("interrupted, nothing was written");
  }
  auto place = [&](llvm::StringRef file) {
    return rename((hidden + "/" + file).str().c_str(), (folder + "/" + file).str().c_str()) == 0;
  };
  for (const std::string& file : files)
    if (!place(file)) return failed(errno);
  if (!index.empty()) {
    std::error_code code;
    llvm::raw_fd_ostream stream(hidden + "/index.json", code);
    if (!code) stream << index;
    stream.close();
    if (code || stream.has_error() || !place("index.json")) {
      stream.clear_error();
      return failed(code ? code.value() : EIO);
    }
  }
  return llvm::Error::success();
}
}  // namespace optp
