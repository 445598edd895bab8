#include "frontend/io/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <random>
#include <system_error>

namespace optp {

int Descriptor::close() {
  // Never retried after EINTR: Linux has released the number by then, and another thread may own it.
  return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1));
}

bool same_file(llvm::StringRef path, uint64_t device, uint64_t inode) {
  struct stat status;
  return ::stat(path.str().c_str(), &status) == 0 && id_of(status) == FileId{device, inode};
}

int write_fully(int file, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(file, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data += n;
    size -= size_t(n);
  }
  return 0;
}
// A folder that cannot be synced on this file system (EINVAL) is as safe as that file system makes it.
int sync_folder(int folder) { return ::fsync(folder) == 0 || errno == EINVAL ? 0 : errno; }
std::string random_suffix() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 6; ++i) text += "abcdefghijklmnopqrstuvwxyz0123456789"[device() % 36];
  return text;
}

std::string reason(int error_number) {
  std::string text = std::generic_category().message(error_number);
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])))
    text[0] = char(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

const char* kind_of(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return "a regular file";
    case S_IFDIR:
      return "a folder";
    case S_IFLNK:
      return "a symbolic link";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

std::pair<std::string, std::string> split_path(llvm::StringRef path) {
  const size_t slash = path.rfind('/');
  if (slash == llvm::StringRef::npos) return {".", path.str()};
  return {slash == 0 ? "/" : path.take_front(slash).str(), path.drop_front(slash + 1).str()};
}

namespace {
Descriptor walk_beneath(int folder, llvm::StringRef path, int flags) {
  Descriptor holder;
  int at = folder;
  while (true) {
    const auto [head, rest] = path.split('/');
    const bool last = head.size() == path.size();
    if (head == "..") return errno = EXDEV, Descriptor();
    if (!(head == "." && !last)) {
      const std::string name = head.str();
      const int how = last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
      Descriptor next(::openat(at, name.c_str(), how));
      if (!next) {
        // For a link O_DIRECTORY says ENOTDIR, as it would for a plain file; the caller must tell them apart.
        const int saved = errno;
        struct stat status;
        const bool link = ::fstatat(at, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
        errno = link ? ELOOP : saved;
        return Descriptor();
      }
      holder = std::move(next);
      at = holder.get();
    }
    if (last) return holder;
    path = rest;
  }
}
}  // namespace

Descriptor open_beneath(int folder, llvm::StringRef path, int flags, Symlinks symlinks, Resolver resolver) {
  if (resolver == Resolver::kernel) {
    struct open_how how = {};
    how.flags = uint64_t(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (symlinks == Symlinks::none ? RESOLVE_NO_SYMLINKS : 0);
    const std::string name = path.str();
    // EAGAIN: something was renamed while the kernel climbed a `..` of a link; it wants us to ask again, within reason.
    for (int attempt = 0; attempt < 64; ++attempt) {
      Descriptor opened(int(::syscall(SYS_openat2, folder, name.c_str(), &how, sizeof how)));
      if (opened || (errno != EAGAIN && errno != EINTR)) {
        // EPERM is what older container sandboxes answer to a system call they do not know.
        if (opened || (errno != ENOSYS && errno != EPERM)) return opened;
        break;
      }
    }
    if (errno == EAGAIN || errno == EINTR) return Descriptor();
  }
  return walk_beneath(folder, path, flags | O_CLOEXEC);
}

}  // namespace optp
