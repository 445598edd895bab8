#include "frontend/io/folder_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <vector>

namespace optp {
Descriptor open_folder(int at, const char* name) {
  return Descriptor(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

namespace {
constexpr int max_tree_depth = 64;  // each level holds a descriptor

bool visit(int folder, const std::string& prefix, int depth,
           llvm::function_ref<void(const std::string&, const struct stat&)> each) {
  if (depth > max_tree_depth) return false;
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!entries) return Descriptor(copy), false;
  bool complete = true;
  while (dirent* entry = ::readdir(entries)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat status;
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      complete = false;
      continue;
    }
    each(prefix + name, status);
    if (!S_ISDIR(status.st_mode)) continue;
    Descriptor inner = open_folder(folder, name.c_str());
    complete &= inner && visit(inner.get(), prefix + name + "/", depth + 1, each);
  }
  ::closedir(entries);
  return complete;
}

bool remove(int parent, const char* name, int depth) {
  if (depth > max_tree_depth) return false;
  Descriptor folder = open_folder(parent, name);
  const int copy = folder ? ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!entries) return Descriptor(copy), ::unlinkat(parent, name, AT_REMOVEDIR) == 0;
  std::vector<std::string> names;  // first all names: removing while reading may skip some
  while (dirent* entry = ::readdir(entries)) names.emplace_back(entry->d_name);
  ::closedir(entries);
  for (const std::string& inner : names)
    if (inner != "." && inner != ".." && ::unlinkat(folder.get(), inner.c_str(), 0) != 0)
      remove(folder.get(), inner.c_str(), depth + 1);
  return ::unlinkat(parent, name, AT_REMOVEDIR) == 0;
}
}  // namespace

bool visit_tree(int folder, llvm::function_ref<void(const std::string&, const struct stat&)> each) {
  return visit(folder, "", 0, each);
}
bool remove_tree(int parent, const char* name) { return remove(parent, name, 0); }
}  // namespace optp
