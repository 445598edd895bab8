// What the doors to the disk share: descriptors that close themselves, a file's identity, opening beneath a folder.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

#include "llvm/ADT/StringRef.h"

namespace optp {

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int close();  // what close(2) says: a network file system reports a failed write only here

 private:
  int fd_;
};

// Names lie (links, mounts, `./x`): two paths are one file exactly if these agree.
struct FileId {
  uint64_t device = 0, inode = 0;
  bool operator==(const FileId&) const = default;
};
inline FileId id_of(const struct stat& status) { return {uint64_t(status.st_dev), uint64_t(status.st_ino)}; }
// False if nothing is there. An output may never be an input: ask this of every input before a path is written.
bool same_file(llvm::StringRef path, uint64_t device, uint64_t inode);

enum class Symlinks { stay_beneath, none };
enum class Resolver { kernel, walk };  // walk: what runs where the kernel has no openat2 (before 5.6, some sandboxes)
// openat of a relative path which never leaves the folder, not even while someone swaps files for links under us;
// -1 and errno on failure: EXDEV if it would leave, ELOOP for a link that may not be followed. The walk refuses all
// links.
Descriptor open_beneath(int folder, llvm::StringRef path, int flags, Symlinks symlinks,
                        Resolver resolver = Resolver::kernel);

int write_fully(int file, const char* data, size_t size);  // 0 or errno
int sync_folder(int folder);                               // 0 or errno
std::string random_suffix();                               // six of [a-z0-9]

std::string reason(int error_number);                                  // "no space left on device"
const char* kind_of(const struct stat& status);                        // "a folder", "a FIFO" …
std::pair<std::string, std::string> split_path(llvm::StringRef path);  // folder ("." if none) and last name

}  // namespace optp
