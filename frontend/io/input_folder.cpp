#include "frontend/io/input_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <climits>
#include <mutex>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/Twine.h"

namespace optp {
using llvm::ArrayRef;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using llvm::Twine;

namespace {
// O_NONBLOCK: opening a FIFO must not wait for a writer. O_NOCTTY: nor may a terminal become ours.
constexpr int read_flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

std::string real_path_of(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  std::string result = real ? real : "";
  ::free(real);
  return result;
}

// What is mapped where, for a signal handler: fixed, no lock, no allocation. `begin` is written last and cleared first,
// so a reader that sees it sees the rest.
struct Slot {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<const char*> message{nullptr};
  std::atomic<size_t> message_bytes{0};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<const char*>::is_always_lock_free);
constexpr int max_mapped_files = 16'384;  // a quarter of Linux's default number of mappings
Slot slots[max_mapped_files];
std::atomic<int> slots_used{0};
std::mutex slots_mutex;

int claim_slot(const char* data, int64_t size, StringRef message) {
  const std::lock_guard lock(slots_mutex);
  static int hint = 0;
  for (int tried = 0; tried < max_mapped_files; ++tried) {
    const int at = (hint + tried) % max_mapped_files;
    Slot& slot = slots[at];
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    // Its size is stored beside it. NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage)
    slot.message.store(message.data(), std::memory_order_relaxed);
    slot.message_bytes.store(message.size(), std::memory_order_relaxed);
    // Whole pages: past the file's end its last page is ours too, and a fault names no more than the page.
    const auto page = uintptr_t(::sysconf(_SC_PAGESIZE));
    slot.end.store((uintptr_t(data) + size_t(size) + page - 1) / page * page, std::memory_order_relaxed);
    slot.begin.store(uintptr_t(data), std::memory_order_release);
    if (at >= slots_used.load()) slots_used.store(at + 1);
    hint = at + 1;
    return at;
  }
  return -1;
}

struct sigaction previous_action;

void on_bus_error(int signal, siginfo_t* info, void*) {
  const auto address = uintptr_t(info->si_addr);
  const int used = slots_used.load();
  for (int i = 0; i < used; ++i) {
    const uintptr_t begin = slots[i].begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= slots[i].end.load()) continue;
    const char* text = slots[i].message.load();
    const size_t size = slots[i].message_bytes.load();
    for (size_t done = 0; done < size;) {
      const ssize_t n = ::write(STDERR_FILENO, text + done, size - done);
      if (n <= 0) break;
      done += size_t(n);
    }
    ::_exit(int(Fault::bad_input));
  }
  // Not ours: back to what was there, which sees the fault again when this handler returns.
  ::sigaction(signal, &previous_action, nullptr);
}
}  // namespace

void install_mapping_guard() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_action);
  });
}

void let_go_of_files() {
  const std::lock_guard lock(slots_mutex);  // what is unmapped meanwhile may be memory of another kind at once
  for (int i = 0; i < slots_used.load(); ++i)
    if (const uintptr_t begin = slots[i].begin.load())
      // NOLINTNEXTLINE(performance-no-int-to-ptr): kept as a number for the handler
      (void)::madvise(reinterpret_cast<void*>(begin), slots[i].end.load() - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  const std::lock_guard lock(slots_mutex);
  if (slot_ >= 0) slots[slot_].begin.store(0, std::memory_order_release);
  if (data_) ::munmap(const_cast<char*>(data_), size_t(size_));
}

Expected<ArrayRef<char>> MappedFile::range(uint64_t offset, uint64_t length) const {
  const auto size = uint64_t(size_);
  // Not offset + length > size: the sum wraps, and 2^64-1 + 2 would be in every file.
  if (length > size || offset > size - length)
    return error(Code::size_mismatch)
        .in_file(name_)
        .what("range")
        .expected("bytes within the file's " + Twine(size))
        .found(Twine(length) + " bytes at offset " + Twine(offset));
  return bytes().slice(size_t(offset), size_t(length));
}

Error MappedFile::check_unchanged() const {
  struct stat now;
  const bool same = ::stat(real_path_.c_str(), &now) == 0 && id_of(now) == id_ && now.st_size == size_ &&
                    now.st_mtim.tv_sec == modified_.tv_sec && now.st_mtim.tv_nsec == modified_.tv_nsec;
  if (same) return Error::success();
  return error(Code::changed).in_file(name_).what("changed while in use");
}

// What may build a MappedFile: the functions of this file.
struct MappedFileAccess {
  static Expected<std::shared_ptr<MappedFile>> map(Descriptor file, const Twine& name, int64_t max_bytes) {
    std::shared_ptr<MappedFile> mapped(new MappedFile);
    mapped->name_ = name.str();
    mapped->real_path_ = real_path_of("/proc/self/fd/" + std::to_string(file.get()));
    if (mapped->real_path_.empty()) mapped->real_path_ = mapped->name_;  // no /proc here
    struct stat status;
    if (::fstat(file.get(), &status) != 0)
      return error(Code::unreadable).in_file(name).what("cannot be read").what(reason(errno));
    if (!S_ISREG(status.st_mode))
      return error(Code::not_a_file).in_file(name).expected("a regular file").found(kind_of(status));
    if (status.st_size > max_bytes)
      return error(Code::too_large)
          .in_file(name)
          .what("size")
          .expected("at most " + Twine(max_bytes) + " bytes")
          .found(status.st_size);
    mapped->size_ = status.st_size;
    mapped->id_ = id_of(status);
    mapped->modified_ = status.st_mtim;
    if (mapped->size_ == 0) return mapped;  // mmap refuses an empty range
    void* data = ::mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) return error(Code::unreadable).in_file(name).what("cannot be mapped").what(reason(errno));
    // Where the page cache has huge pages, each touch would bring 2 MiB: a few rows of a table all of it.
    (void)::madvise(data, size_t(status.st_size), MADV_NOHUGEPAGE);
    mapped->data_ = static_cast<const char*>(data);
    // Through an Error, which escapes what a terminal would act on: the handler itself cannot.
    mapped->changed_message_ = llvm::toString(error(Code::changed).in_file(name).what("changed while in use")) + "\n";
    mapped->slot_ = claim_slot(mapped->data_, mapped->size_, mapped->changed_message_);
    if (mapped->slot_ < 0)
      return error(Code::too_large)
          .in_file(name)
          .expected("at most " + Twine(max_mapped_files) + " mapped files at once");
    return mapped;
  }
};

namespace {
Error cannot_open(const Twine& name, int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return error(Code::file_not_found).in_file(name).what("no such file");
    case ENXIO:
      return error(Code::not_a_file).in_file(name).expected("a regular file").found("a socket or a device");
    default:
      return error(Code::unreadable).in_file(name).what("cannot be opened").what(reason(error_number));
  }
}

// The part of `path` beneath `folder`; empty if it is not beneath. Both are real paths.
StringRef beneath(StringRef path, StringRef folder) {
  if (folder.empty() || !path.consume_front(folder)) return {};
  if (folder != "/" && !path.consume_front("/")) return {};
  return path;
}

// What could only be a mistake or an attack is refused by its spelling, for the better message; safety is not here.
const char* fault_of_spelling(StringRef location, const Limits& limits) {
  if (location.empty()) return "an empty one";
  if (int64_t(location.size()) > limits.max_location_bytes) return "one that is too long";
  if (location.contains('\0')) return "one with a NUL byte";
  if (location.contains('\\')) return "one with a backslash";
  if (location.starts_with("/")) return "an absolute one";
  for (StringRef rest = location;;) {
    const auto [head, tail] = rest.split('/');
    const bool last = head.size() == rest.size();
    if (head.empty()) return "one with an empty name in it";
    if (head == "..") return "one with '..' in it";
    if (last && head == ".") return "one that names a folder";
    if (last) return nullptr;
    rest = tail;
  }
}
}  // namespace

Expected<std::shared_ptr<MappedFile>> open_input_file(StringRef path, int64_t max_bytes) {
  if (path.empty() || path.contains('\0'))
    return error(Code::file_not_found).at(quoted_file_place(path)).what("no such file");
  Descriptor file(::open(path.str().c_str(), read_flags));
  if (!file) return cannot_open(path, errno);
  return MappedFileAccess::map(std::move(file), path, max_bytes);
}

InputFolder::InputFolder() : InputFolder(Options{}) {}
InputFolder::InputFolder(Options options) : options_(options) {}
InputFolder::~InputFolder() = default;

Expected<std::shared_ptr<MappedFile>> InputFolder::open_model(StringRef path) {
  if (path.empty() || path.contains('\0'))
    return error(Code::file_not_found).at(quoted_file_place(path)).what("no such file");
  const auto [folder, name] = split_path(path);
  root_.folder = Descriptor(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_.folder) return cannot_open(path, errno);
  root_.real_path = real_path_of(folder);
  model_root_ = Root();
  opened_.clear();
  shown_folder_ = path.drop_back(name.size()).str();

  Descriptor file(::openat(root_.folder.get(), name.empty() ? "." : name.c_str(), read_flags));
  if (!file) return cannot_open(path, errno);
  struct stat opened, link;
  if (::fstat(file.get(), &opened) != 0) return cannot_open(path, errno);
  const std::string real = real_path_of(path.str());
  if (::fstatat(root_.folder.get(), name.c_str(), &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(link.st_mode)) {
    const auto [real_folder, real_name] = split_path(real);
    Descriptor second(::open(real_folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    // The name was looked up twice; only if both found the same file do we know whose folder this is.
    struct stat there;
    if (second && ::fstatat(second.get(), real_name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        id_of(there) == id_of(opened)) {
      model_root_.folder = std::move(second);
      model_root_.real_path = real_folder;
    }
  }
  model_ = id_of(opened);
  return MappedFileAccess::map(std::move(file), path, options_.limits.max_model_bytes);
}

Descriptor InputFolder::open_in_roots(StringRef location) const {
  errno = ENOENT;
  for (const Root* from : {&root_, &model_root_}) {
    if (!from->folder) continue;
    Descriptor file = open_beneath(from->folder.get(), location, read_flags, Symlinks::stay_beneath, options_.resolver);
    if (file) return file;
    const int cause = errno;
    if (cause == EXDEV || cause == ELOOP) {
      // A link that climbs or is absolute, and perhaps comes down again beneath a root. Where it ends is looked up by
      // name, but that is only a hint: it is opened beneath a root again, without following any link at all.
      const std::string real = real_path_of(from->real_path + "/" + location.str());
      const bool dangles = real.empty() && errno == ENOENT;
      for (const Root* root : {&root_, &model_root_}) {
        const StringRef rest = beneath(real, root->real_path);
        if (rest.empty()) continue;
        file = open_beneath(root->folder.get(), rest, read_flags, Symlinks::none, options_.resolver);
        if (file) return file;
      }
      errno = dangles ? ENOENT : cause;
    }
    if (errno != ENOENT) break;  // it is there and may not be read: the other root is no way around that
  }
  return Descriptor();
}

Expected<std::shared_ptr<MappedFile>> InputFolder::open(StringRef location) {
  assert(root_.folder && "a model must be open before its data");
  if (const char* found = fault_of_spelling(location, options_.limits))
    return error(Code::malformed)
        .in_file(shown_folder_.empty() ? "." : shown_folder_)
        .what("location")
        .expected("a path beneath this folder")
        .found(Twine(found) + ": " + quoted(location));
  if (const auto known = opened_.find(location); known != opened_.end()) return known->second;

  const std::string shown = shown_folder_ + location.str();
  Descriptor file = open_in_roots(location);
  if (!file && (errno == EXDEV || errno == ELOOP))
    return error(Code::malformed)
        .in_file(shown)
        .what("location")
        .expected("a file beneath the model's folder")
        .found(llvm::Twine("a symbolic link ") + (errno == EXDEV ? "that leaves it" : "that cannot be followed"));
  if (!file) return cannot_open(shown, errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return cannot_open(shown, errno);
  if (id_of(status) == model_)
    return error(Code::malformed).in_file(shown).what("location").expected("a data file").found("the model itself");
  if (S_ISREG(status.st_mode) && status.st_nlink > 1)
    return error(Code::malformed)
        .in_file(shown)
        .expected("a file with one name")
        .found("a hard link (" + Twine(status.st_nlink) + " names), which may be a file from elsewhere")
        .hint("copy it");
  auto mapped = MappedFileAccess::map(std::move(file), shown, INT64_MAX);
  if (mapped) opened_[location] = *mapped;
  return mapped;
}

}  // namespace optp
