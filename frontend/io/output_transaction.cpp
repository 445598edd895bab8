#include "frontend/io/output_transaction.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <mutex>
#include <set>

#include "frontend/io/folder_tree.h"
#include "frontend/io/interrupts.h"
#include "frontend/io/manifest.h"
#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/STLExtras.h"

namespace optp {
using llvm::ArrayRef;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

struct OutputState {
  std::string target, name, temporary, lock_name;
  OutputOptions options;
  Descriptor parent, lock, folder;
  std::mutex mutex;  // of what follows
  Manifest files;
  std::set<std::string> subfolders, left_out;
  int unfinished = 0;
  bool closed = false;
  bool joined = false;  // another process has the lock

  const DeferInterrupts defer;

  Error check_interrupted() const {
    if (interrupting_signal() == 0 || options.despite_signals) return Error::success();
    return error(Code::interrupted).in_file(target).what("interrupted, nothing was written");
  }
  // Removed before it is unlocked, so that who locks it next can see that it is gone (begin compares inodes).
  void unlock() {
    if (lock) ::unlinkat(parent.get(), lock_name.c_str(), 0);
    lock.close();
  }
  void abandon() {
    if (!temporary.empty() && !joined) remove_tree(parent.get(), temporary.c_str());
    temporary.clear();
    unlock();
  }
};

namespace {
// May the target be replaced? exists and empty say how.
Error check_target(const OutputState& state, bool& exists, bool& empty, mode_t& mode) {
  exists = empty = false;
  struct stat status;
  if (::fstatat(state.parent.get(), state.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Error::success();
    return error(Code::cannot_write).in_file(state.target).what(reason(errno));
  }
  exists = true;
  mode = status.st_mode & 07777;
  if (!S_ISDIR(status.st_mode))
    return error(Code::occupied).in_file(state.target).expected("a folder or nothing").found(kind_of(status));
  Descriptor folder = open_folder(state.parent.get(), state.name.c_str());
  if (!folder) return error(Code::cannot_write).in_file(state.target).what(reason(errno));

  Manifest manifest;
  bool ours = false;
  if (Expected<Manifest> read = read_manifest(folder.get(), state.target, Limits())) {
    manifest = std::move(*read);
    ours = true;
  } else {
    llvm::consumeError(read.takeError());  // damaged is not ours: it may be anything
  }
  std::string foreign, input;  // the first by name, whatever order the folder has
  empty = true;
  const bool complete = visit_tree(folder.get(), [&](const std::string& name, const struct stat& found) {
    empty = false;
    const auto row = manifest.lower_bound(name + (S_ISDIR(found.st_mode) ? "/" : ""));
    const bool listed = name == manifest_name ||
                        (row != manifest.end() &&
                         (S_ISDIR(found.st_mode) ? StringRef(row->first).starts_with(name + "/") : row->first == name));
    if (!listed && (foreign.empty() || name < foreign)) foreign = name;
    if (llvm::is_contained(state.options.inputs, id_of(found))) input = name;
  });
  if (!input.empty())
    return error(Code::is_an_input)
        .in_file(state.target)
        .what("the folder holds an input of this run, " + quoted(input))
        .hint("choose another folder");
  if (empty || state.options.overwrite) return Error::success();
  if (!ours)
    return error(Code::occupied)
        .in_file(state.target)
        .what("the folder is not an output of ours (it has no valid manifest.json)")
        .hint("choose another folder or overwrite it explicitly");
  if (!complete) return error(Code::cannot_write).in_file(state.target).what("the folder cannot be read to its end");
  if (!foreign.empty())
    return error(Code::occupied)
        .in_file(state.target)
        .what("the folder holds a file that is not ours, " + quoted(foreign))
        .hint("move it away or overwrite it explicitly");
  return Error::success();
}

// The lock dies with its holder, so nothing stale can refuse a run. Its file is removed by its holder, hence the second
// look: a lock on a file that has no name any more keeps nobody out.
Error lock_target(OutputState& state) {
  state.lock_name = "." + state.name + ".lock";
  while (true) {
    Descriptor lock(::openat(state.parent.get(), state.lock_name.c_str(),
                             O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666));
    if (!lock)
      return error(Code::cannot_write)
          .in_file(state.target)
          .what("its lock " + state.lock_name + " cannot be created")
          .what(reason(errno));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
      return error(Code::cannot_write)
          .in_file(state.target)
          .what(errno == EWOULDBLOCK ? "another run is writing to it" : "cannot be locked: " + reason(errno));
    struct stat held, named;
    if (::fstat(lock.get(), &held) == 0 &&
        ::fstatat(state.parent.get(), state.lock_name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        id_of(held) == id_of(named)) {
      state.lock = std::move(lock);
      return Error::success();
    }
  }
}

// We hold the lock: what looks like a temporary folder of this target belongs to a run that is dead.
void remove_stale(const OutputState& state, const std::string& prefix) {
  std::vector<std::string> stale;
  if (DIR* entries = ::fdopendir(::openat(state.parent.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC))) {
    while (dirent* entry = ::readdir(entries))
      if (StringRef(entry->d_name).starts_with(prefix) && StringRef(entry->d_name).size() == prefix.size() + 6)
        stale.emplace_back(entry->d_name);
    ::closedir(entries);
  }
  for (const std::string& old : stale) remove_tree(state.parent.get(), old.c_str());
}

Error make_temporary_folder(OutputState& state, const std::string& prefix) {
  std::string temporary;
  do {
    temporary = prefix + random_suffix();
    if (::mkdirat(state.parent.get(), temporary.c_str(), 0777) == 0) break;
    if (errno != EEXIST)
      return error(Code::cannot_write)
          .in_file(state.target)
          .what("a folder beside it cannot be created")
          .what(reason(errno));
  } while (true);
  state.temporary = temporary;
  state.folder = open_folder(state.parent.get(), temporary.c_str());
  if (!state.folder) return error(Code::cannot_write).in_file(state.target).what(reason(errno));
  return Error::success();
}
}  // namespace

struct OutputFile::Sweep {
  llvm::BLAKE3 hash;
};

// Small writes are gathered, so that a header field costs no system call. The block of a large span is hashed and then
// written while the core's cache holds it; 256 KiB fit there.
constexpr size_t block_bytes = size_t{256} << 10;

OutputFile::OutputFile() : sweep_(std::make_unique<Sweep>()) {}
OutputFile::~OutputFile() = default;

Error OutputFile::failed(int error_number) {
  failed_ = true;
  // The kernel read a page of the caller's that is not there: the caller's span is a mapped file that was cut.
  if (error_number == EFAULT) return error(Code::changed).in_file(name_).what("its source changed while in use");
  return error(Code::cannot_write).in_file(name_).what("cannot be written").what(reason(error_number));
}

Error OutputFile::sweep(ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    const ArrayRef<char> block = bytes.take_front(block_bytes);
    sweep_->hash.update(StringRef(block.data(), block.size()));
    if (const int error_number = write_fully(file_.get(), block.data(), block.size())) return failed(error_number);
    if (Error e = state_->check_interrupted()) {
      failed_ = true;
      return e;
    }
    bytes = bytes.drop_front(block.size());
  }
  return Error::success();
}

Error OutputFile::flush() {
  Error result = sweep(buffer_);
  buffer_.clear();
  return result;
}

Error OutputFile::write(ArrayRef<char> bytes) {
  assert(blake3_.empty() && "a finished file takes no more bytes");
  if (failed_) return error(Code::cannot_write).in_file(name_).what("an earlier write failed");
  offset_ += int64_t(bytes.size());
  if (buffer_.size() + bytes.size() > block_bytes) {
    if (Error e = flush()) return e;
    if (bytes.size() >= block_bytes) return sweep(bytes);
  }
  buffer_.reserve(block_bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return Error::success();
}

Error OutputFile::pad_to(int64_t alignment) {
  assert(alignment > 0 && "an alignment is positive");
  const std::vector<char> zeros(size_t((alignment - offset_ % alignment) % alignment));
  return write(ArrayRef<char>(zeros));
}

Error OutputFile::finish() {
  assert(blake3_.empty() && "a file is finished once");
  if (failed_) return error(Code::cannot_write).in_file(name_).what("an earlier write failed");
  if (Error e = flush()) return e;
  if (::fsync(file_.get()) != 0) return failed(errno);
  if (file_.close() != 0) return failed(errno);
  blake3_ = hex_digest(sweep_->hash);
  const std::lock_guard lock(state_->mutex);
  --state_->unfinished;
  state_->files[name_.substr(state_->target.size() + 1)] = {offset_, blake3_};
  return Error::success();
}

namespace {
Expected<std::shared_ptr<OutputState>> open_target(StringRef target, OutputOptions options) {
  auto state = std::make_shared<OutputState>();
  while (target.size() > 1 && target.ends_with("/")) target = target.drop_back();
  const auto [folder, name] = split_path(target);
  if (name.empty() || name == "." || name == ".." || target.contains('\0'))
    return error(Code::cannot_write).at(quoted_file_place(target)).expected("the name of a folder, which can be new");
  state->target = target.str();
  state->name = name;
  state->options = std::move(options);
  state->parent = Descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!state->parent)
    return error(Code::cannot_write).in_file(target).what("its parent folder cannot be opened").what(reason(errno));
  return state;
}
}  // namespace

Expected<OutputTransaction> OutputTransaction::join(StringRef target, StringRef temporary, OutputOptions options) {
  auto opened = open_target(target, std::move(options));
  if (!opened) return opened.takeError();
  OutputState& state = **opened;
  state.joined = true;
  if (temporary.contains('/') || !temporary.starts_with("." + state.name + ".tmp-"))
    return error(Code::bug).in_file(state.target).what(quoted(temporary) + " is no temporary folder of it");
  state.temporary = temporary.str();
  state.folder = open_folder(state.parent.get(), state.temporary.c_str());
  if (!state.folder) return error(Code::cannot_write).in_file(state.target).what(reason(errno));
  return OutputTransaction(std::move(*opened));
}

StringRef OutputTransaction::temporary() const { return state_->temporary; }

void OutputTransaction::add_finished(StringRef relative_name, int64_t size_bytes, StringRef blake3) {
  const std::lock_guard lock(state_->mutex);
  state_->files[relative_name.str()] = {size_bytes, blake3.str()};
}

Expected<OutputTransaction> OutputTransaction::begin(StringRef target, OutputOptions options) {
  auto opened = open_target(target, std::move(options));
  if (!opened) return opened.takeError();
  const std::shared_ptr<OutputState> state = *opened;
  target = state->target;
  const std::string& name = state->name;

  if (Error e = lock_target(*state)) return e;
  OutputTransaction transaction(state);  // from here on, its destructor cleans up

  bool exists, empty;
  mode_t mode;
  if (Error e = check_target(*state, exists, empty, mode)) return e;
  const std::string prefix = "." + name + ".tmp-";
  remove_stale(*state, prefix);
  if (Error e = make_temporary_folder(*state, prefix)) return e;
  return transaction;
}

OutputTransaction::~OutputTransaction() {
  if (state_) state_->abandon();
}

Expected<std::unique_ptr<OutputFile>> OutputTransaction::create(StringRef relative_name) {
  OutputState& state = *state_;
  if (!is_output_name(relative_name) || relative_name == manifest_name)
    return error(Code::bug)
        .in_file(state.target)
        .what("output name")
        .expected("one or two names of [a-z0-9._-]")
        .found(quoted(relative_name));
  if (Error e = state.check_interrupted()) return e;
  std::unique_ptr<OutputFile> file(new OutputFile);
  file->state_ = state_;
  file->name_ = state.target + "/" + relative_name.str();
  const std::lock_guard lock(state.mutex);
  assert(!state.closed && "a committed transaction takes no more files");
  if (relative_name.contains('/')) {
    const std::string subfolder = relative_name.split('/').first.str();
    if (::mkdirat(state.folder.get(), subfolder.c_str(), 0777) != 0 && errno != EEXIST)
      return error(Code::cannot_write).in_file(file->name_).what("its folder cannot be created").what(reason(errno));
    state.subfolders.insert(subfolder);
  }
  file->file_ = Descriptor(::openat(state.folder.get(), relative_name.str().c_str(),
                                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file->file_ && errno == EEXIST)
    return error(Code::bug).in_file(file->name_).what("output name").expected("each name once").found("it twice");
  if (!file->file_) return error(Code::cannot_write).in_file(file->name_).what("cannot be created").what(reason(errno));
  ++state.unfinished;
  return file;
}

void OutputTransaction::leave_out(StringRef relative_name) {
  assert(is_output_name(relative_name) && "an output's name is ours");
  const std::lock_guard lock(state_->mutex);
  state_->left_out.insert(relative_name.str());
}

Error OutputTransaction::commit() {
  OutputState& state = *state_;
  if (Error e = state.check_interrupted()) return e;
  if (state.unfinished != 0 || state.closed || state.joined)
    return error(Code::bug)
        .in_file(state.target)
        .what("commit")
        .expected("every file finished and one commit")
        .found("otherwise");
  state.closed = true;

  const std::string manifest = manifest_json(state.files, state.left_out);
  Descriptor file(
      ::openat(state.folder.get(), manifest_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  const std::string shown = state.target + "/" + manifest_name;
  if (!file) return error(Code::cannot_write).in_file(shown).what("cannot be created").what(reason(errno));
  if (const int e = write_fully(file.get(), manifest.data(), manifest.size()))
    return error(Code::cannot_write).in_file(shown).what("cannot be written").what(reason(e));
  if (::fsync(file.get()) != 0 || file.close() != 0)
    return error(Code::cannot_write).in_file(shown).what("cannot be written").what(reason(errno));
  for (const std::string& subfolder : state.subfolders) {
    Descriptor folder = open_folder(state.folder.get(), subfolder.c_str());
    if (const int e = folder ? sync_folder(folder.get()) : errno)
      return error(Code::cannot_write).in_file(state.target).what(reason(e));
  }

  // Asked again: who does not know our lock may have put something there meanwhile.
  bool exists, empty;
  mode_t mode;
  if (Error e = check_target(state, exists, empty, mode)) return e;
  if (exists) (void)::fchmod(state.folder.get(), mode);  // the folder that the user made, shared with a group perhaps
  if (const int e = sync_folder(state.folder.get()))
    return error(Code::cannot_write).in_file(state.target).what(reason(e));

  const int parent = state.parent.get();
  const char *from = state.temporary.c_str(), *to = state.name.c_str();
  if (!exists || empty) {
    // rename replaces nothing but an empty folder
    if (::renameat(parent, from, parent, to) != 0)
      return error(Code::cannot_write).in_file(state.target).what("cannot be put in place").what(reason(errno));
    state.temporary.clear();
  } else if (::renameat2(parent, from, parent, to, RENAME_EXCHANGE) != 0) {
    if (errno == EINVAL || errno == ENOSYS)
      return error(Code::cannot_write)
          .in_file(state.target)
          .what("this file system cannot exchange two folders")
          .hint("remove the old one first");
    return error(Code::cannot_write).in_file(state.target).what("cannot be put in place").what(reason(errno));
  }
  const int synced = sync_folder(parent);
  // After an exchange the temporary name holds the old output. If it cannot be removed now, the next run tries again.
  state.abandon();
  if (synced != 0)
    return error(Code::cannot_write)
        .in_file(state.target)
        .what("is in place, but perhaps not after a power loss")
        .what(reason(synced));
  return Error::success();
}

namespace {
struct FilePlace {
  Descriptor parent;
  std::string name;
  std::optional<mode_t> mode;  // of the file that is there
};
Expected<FilePlace> place_for_file(StringRef path) {
  auto [folder, name] = split_path(path);
  if (name.empty() || name == "." || name == ".." || path.contains('\0'))
    return error(Code::cannot_write).at(quoted_file_place(path)).expected("the name of a file");
  FilePlace place{Descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), name, {}};
  if (!place.parent)
    return error(Code::cannot_write).in_file(path).what("its folder cannot be opened").what(reason(errno));
  struct stat status;
  if (::fstatat(place.parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return place;
  if (!S_ISREG(status.st_mode))
    return error(Code::occupied).in_file(path).expected("a regular file or nothing").found(kind_of(status));
  place.mode = status.st_mode;
  return place;
}
}  // namespace

Error check_places_for_files(ArrayRef<StringRef> paths) {
  for (const StringRef path : paths) {
    if (path.empty()) continue;
    auto place = place_for_file(path);
    if (!place) return place.takeError();
    if (::faccessat(place->parent.get(), ".", W_OK | X_OK, AT_EACCESS) != 0)
      return error(Code::cannot_write).in_file(path).what("a file cannot be made in its folder").what(reason(errno));
  }
  return Error::success();
}

Error write_file_atomically(StringRef path, ArrayRef<ArrayRef<char>> pieces) {
  auto place = place_for_file(path);
  if (!place) return place.takeError();
  const auto& [parent, name, mode] = *place;

  const DeferInterrupts defer;  // or the temporary file would stay
  Descriptor file;
  std::string temporary;
  do {  // a fixed name would let two writers publish a mixture
    temporary = "." + name + ".tmp-" + random_suffix();
    file = Descriptor(
        ::openat(parent.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  } while (!file && errno == EEXIST);
  if (!file)
    return error(Code::cannot_write).in_file(path).what("a file beside it cannot be created").what(reason(errno));
  int failure = 0;
  for (ArrayRef<char> piece : pieces)
    if (failure == 0) failure = write_fully(file.get(), piece.data(), piece.size());
  if (mode) (void)::fchmod(file.get(), *mode & 07777);
  if (failure == 0 && ::fsync(file.get()) != 0) failure = errno;
  if (file.close() != 0 && failure == 0) failure = errno;
  if (failure == 0 && ::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) != 0) failure = errno;
  if (failure != 0) {
    ::unlinkat(parent.get(), temporary.c_str(), 0);
    return error(Code::cannot_write).in_file(path).what("cannot be written").what(reason(failure));
  }
  if (const int e = sync_folder(parent.get()))
    return error(Code::cannot_write)
        .in_file(path)
        .what("is in place, but perhaps not after a power loss")
        .what(reason(e));
  return Error::success();
}

Error write_file_atomically(StringRef path, StringRef bytes) {
  return write_file_atomically(path, ArrayRef<ArrayRef<char>>{ArrayRef<char>(bytes.data(), bytes.size())});
}

}  // namespace optp
