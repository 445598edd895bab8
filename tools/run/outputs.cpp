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
namespace fs = std::filesystem;

llvm::Error check_free(const ResultFolder& folder) {
  std::error_code code;
  const fs::path there = fs::canonical(folder.path, code);
  if (code) return check_places_for_files({folder.path});  // nothing is there
  for (const std::string& input : folder.inputs) {
    const fs::path path = fs::canonical(input, code);
    // Beneath it, or the folder itself: then nothing of it is left over.
    if (!code && std::mismatch(there.begin(), there.end(), path.begin(), path.end()).first == there.end())
      return error(Code::is_an_input)
          .in_file(folder.path)
          .what("the folder holds an input of this run, " + quoted(input))
          .hint("choose another folder");
  }
  if (folder.overwrite) return llvm::Error::success();
  std::string foreign;  // the first by name, whatever order the folder has
  for (fs::directory_iterator it(there, code), end; !code && it != end; it.increment(code))
    if (const std::string name = it->path().filename().string();
        !folder.is_result(name) && (foreign.empty() || name < foreign))
      foreign = name;
  if (foreign.empty()) return llvm::Error::success();
  return error(Code::occupied)
      .in_file(folder.path)
      .what("the folder holds a file that is no result of this run, " + quoted(foreign))
      .hint("choose another folder, or --overwrite to lose what is there");
}

llvm::Error write_outputs(const ResultFolder& to, llvm::ArrayRef<std::string> files, llvm::ArrayRef<HostArray> arrays,
                          llvm::StringRef index) {
  if (auto e = check_free(to)) return e;  // again: a run may take hours
  const std::string& folder = to.path;
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
  if (to.overwrite) {
    std::vector<fs::path> old;
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(folder, code))
      if (entry.path().filename() != fs::path(hidden).filename()) old.push_back(entry.path());
    for (const fs::path& path : old)
      if (!code) fs::remove_all(path, code);
    if (code) return failed(code.value());
  }
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
