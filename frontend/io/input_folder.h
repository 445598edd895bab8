// The only door for reading: files become read-only spans of bytes, and what a model names stays in the model's folder.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>

#include "frontend/io/files.h"
#include "frontend/io/limits.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

// A file mapped for reading. Its descriptor is closed again: a model may have a file for every tensor.
class MappedFile {
 public:
  MappedFile(const MappedFile&) = delete;
  ~MappedFile();
  llvm::StringRef name() const { return name_; }  // as the user would write it, for messages
  int64_t size_bytes() const { return size_; }
  FileId id() const { return id_; }
  llvm::ArrayRef<char> bytes() const { return {data_, size_t(size_)}; }
  llvm::StringRef text() const { return {data_, size_t(size_)}; }
  // The bytes [offset, offset + length), or bad_input if they are not all in the file.
  llvm::Expected<llvm::ArrayRef<char>> range(uint64_t offset, uint64_t length) const;
  // A cut inside the last page raises no signal: its bytes silently read as zeros. Ask this after the last use.
  llvm::Error check_unchanged() const;

 private:
  friend struct MappedFileAccess;
  MappedFile() = default;
  std::string name_, real_path_, changed_message_;
  const char* data_ = nullptr;
  int64_t size_ = 0;
  FileId id_;
  struct timespec modified_ = {};
  int slot_ = -1;  // in the table that the guard searches
};

// Once, early in main: a mapped file that is cut while we read it then ends the process with one line that names it
// and exit code 65, instead of a bare SIGBUS. Other bus errors go where they went before.
void install_mapping_guard();

// Pages of mapped files that were read are let go of: they are read again where they are needed again.
void let_go_of_files();

// Maps a file that the user named: wherever it is and through whatever links, but a regular file. Never blocks.
llvm::Expected<std::shared_ptr<MappedFile>> open_input_file(llvm::StringRef path, int64_t max_bytes = INT64_MAX);

// Opens a model and then, beneath its folder, the files that the model names. These are not the user's words but the
// file's: whatever it spells and whatever links lie in the folder, nothing outside is opened. The check is the kernel's
// (openat2) at the moment of opening, then ours on the opened descriptor; never on the spelling of a path.
//  - A symbolic link may be followed while its target stays beneath a root. If the model itself is a link, the real
//    folder of the model is a second root: the Hugging Face cache is made of such links (snapshots/X/model.onnx and
//    model.onnx.data both point into ../../blobs), and so are many shared stores.
//  - A hard link looks like any file, so a folder could contain another's secret: data with more than one name is
//    refused. The model itself may be one: the user named it.
// For one thread at a time.
class InputFolder {
 public:
  struct Options {
    Limits limits = {};
    Resolver resolver = Resolver::kernel;
  };
  InputFolder();
  explicit InputFolder(Options options);
  InputFolder(InputFolder&&) noexcept = default;
  InputFolder& operator=(InputFolder&&) noexcept = default;
  ~InputFolder();

  llvm::Expected<std::shared_ptr<MappedFile>> open_model(llvm::StringRef path);  // its folder becomes the root
  // `location` as ONNX's external_data has it: relative, `/` between names. The same location gives the same mapping.
  llvm::Expected<std::shared_ptr<MappedFile>> open(llvm::StringRef location);

 private:
  struct Root {
    Descriptor folder;
    std::string real_path;
  };
  Descriptor open_in_roots(llvm::StringRef location) const;

  Options options_;
  std::string shown_folder_;  // "" or with a slash at its end
  Root root_, model_root_;
  FileId model_;
  llvm::StringMap<std::shared_ptr<MappedFile>> opened_;
};

}  // namespace optp
