// A folder of its own for each test case, and what the cases of this room share.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "frontend/ir/diagnostic.h"

namespace optp {

struct ScratchFolder {
  std::string path;
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "optp-io-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string put(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(*this / name).parent_path());
    std::ofstream(*this / name, std::ios::binary) << bytes;
    return *this / name;
  }
  void link(const std::string& target, const std::string& name) const {
    std::filesystem::create_directories(std::filesystem::path(*this / name).parent_path());
    std::filesystem::create_symlink(target, *this / name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      result.push_back(entry.path().filename().string());
    std::sort(result.begin(), result.end());
    return result;
  }
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Failure {
  Fault fault = Fault::internal;
  std::string message = "(success)", code = {};
};
inline Failure failure(llvm::Error e) {
  Failure result;
  llvm::handleAllErrors(std::move(e),
                        [&](const Diagnostic& d) { result = {d.fault(), d.message(), row_of(d.code()).name}; });
  CHECK(result.message.find('\n') == std::string::npos);  // one cause, one line
  return result;
}
template <class T>
Failure failure(llvm::Expected<T> value) {
  return value ? Failure() : failure(value.takeError());
}
inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
template <class T>
T get(llvm::Expected<T> value) {
  if (!value) FAIL(llvm::toString(value.takeError()));
  return std::move(*value);
}
inline void good(llvm::Error e) { CHECK_MESSAGE(!e, llvm::toString(std::move(e))); }

// What must be seen from outside: a process that dies, or one that changes its own limits. Its exit code and its
// stderr.
template <class Run>
std::pair<int, std::string> in_child(Run run) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::_exit(run());
  }
  ::close(ends[1]);
  std::string text(4096, '\0');
  const ssize_t n = ::read(ends[0], text.data(), text.size());
  text.resize(n > 0 ? size_t(n) : 0);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text};
}

}  // namespace optp
