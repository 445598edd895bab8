// The only door for writing: a folder of outputs appears whole or not at all, whatever fails or is killed on the way.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "frontend/io/files.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace optp {

struct OutputOptions {
  bool overwrite = false;        // also replace a folder that is not one of our outputs
  std::vector<FileId> inputs;    // never replaced, not even with overwrite: the files this run reads
  bool despite_signals = false;  // SIGINT and SIGTERM do not stop it: what they make a run save
};

// One file of a transaction, written front to back. What failed once stays failed: Linux drops the dirty pages after a
// failed fsync, and asking again would say that all is well.
class OutputFile {
 public:
  OutputFile(const OutputFile&) = delete;
  ~OutputFile();
  // Hashed and written in one sweep. Large spans go straight from the caller's memory (a mapped weight file, say).
  llvm::Error write(llvm::ArrayRef<char> bytes);
  llvm::Error write(llvm::StringRef text) { return write(llvm::ArrayRef<char>(text.data(), text.size())); }
  llvm::Error write(const char* text) { return write(llvm::StringRef(text)); }  // else a literal would bring its NUL
  llvm::Error pad_to(int64_t alignment);                                        // zeros up to the next multiple
  int64_t offset() const { return offset_; }
  llvm::Error finish();                               // all on the disk; the transaction takes no other file
  llvm::StringRef blake3() const { return blake3_; }  // 64 hex digits, after finish()

 private:
  friend class OutputTransaction;
  struct Sweep;
  OutputFile();
  llvm::Error sweep(llvm::ArrayRef<char> bytes);
  llvm::Error flush();
  llvm::Error failed(int error_number);

  std::shared_ptr<struct OutputState> state_;
  std::unique_ptr<Sweep> sweep_;
  std::string name_;
  Descriptor file_;
  std::vector<char> buffer_;
  int64_t offset_ = 0;
  bool failed_ = false;
  std::string blake3_;
};

// begin, create each file, write and finish it, commit. Until then everything lies in `.NAME.tmp-XXXXXX` beside the
// target; destroyed without commit, that folder is removed. What a killed run left there, the next run to the same
// target removes. While one lives, a second one for the same target is refused.
class OutputTransaction {
 public:
  static llvm::Expected<OutputTransaction> begin(llvm::StringRef target, OutputOptions options = {});
  // Another process' end of one that was begun: it writes files into the same temporary folder, and tells the process
  // that began it of them. That one alone commits or removes.
  static llvm::Expected<OutputTransaction> join(llvm::StringRef target, llvm::StringRef temporary,
                                                OutputOptions options = {});
  llvm::StringRef temporary() const;  // its name, beside the target
  void add_finished(llvm::StringRef relative_name, int64_t size_bytes, llvm::StringRef blake3);  // elsewhere
  OutputTransaction(OutputTransaction&&) noexcept = default;
  OutputTransaction& operator=(OutputTransaction&&) = delete;
  ~OutputTransaction();
  // "plan.json", "rank0/model.onnx": one or two names of [a-z0-9._-]+ that we made up. No string from a model ever
  // becomes a file name; one that does not look like ours is our bug and an internal error. Files may be written from
  // several threads, each file from one.
  llvm::Expected<std::unique_ptr<OutputFile>> create(llvm::StringRef relative_name);
  // A file that others of this output refer to and that is left out on purpose: the manifest says so, and whoever puts
  // it there later does not make the output damaged.
  void leave_out(llvm::StringRef relative_name);
  // Writes manifest.json last, then puts the folder in place with one rename. If this fails, the target is as it was.
  llvm::Error commit();

 private:
  explicit OutputTransaction(std::shared_ptr<struct OutputState> state) : state_(std::move(state)) {}
  std::shared_ptr<struct OutputState> state_;
};

// The same promise for a single file. A device, a FIFO or a link is refused: renamed over, /dev/stdout would be gone.
llvm::Error write_file_atomically(llvm::StringRef path, llvm::ArrayRef<llvm::ArrayRef<char>> pieces);
llvm::Error write_file_atomically(llvm::StringRef path, llvm::StringRef bytes);
// Could files be written there? Asked before work that takes long; empty paths are files that nobody wants.
llvm::Error check_places_for_files(llvm::ArrayRef<llvm::StringRef> paths);

}  // namespace optp
