// The program itself, run as users run it, in a folder of its own.
#pragma once
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace optp {
namespace fs = std::filesystem;

struct Result {
  int code = -1;  // as a shell says it: 128 + n for signal n
  std::string out, err;
  // What users see of a failure: one line. The code says what kind it is.
  std::string line() const {
    const std::string head = "opt-partition: ";
    if (err.rfind(head, 0) != 0 || std::count(err.begin(), err.end(), '\n') != 1) return "NOT ONE LINE: " + err;
    return err.substr(head.size(), err.size() - head.size() - 1);
  }
};

using Words = std::vector<std::string>;  // of a command line
inline Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
inline void write_text(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
// 600 ids below 250 for train, as uint16.
inline void tokens_into(const std::string& file) {
  std::string tokens;
  for (int k = 0; k < 600; ++k) tokens += char((k * k * 7 + k) % 250), tokens += char(0);
  write_text(file, tokens);
}
// A text that tests/data/golden holds. UPDATE_GOLDEN in the environment writes it anew.
inline void check_golden(const std::string& name, const std::string& text) {
  const std::string golden = OPTP_TEST_DATA "/golden/" + name;
  if (std::getenv("UPDATE_GOLDEN")) write_text(golden, text);
  CAPTURE(name);
  CHECK(text == contents(golden));
}
inline std::string export_of(const std::string& name) { return OPTP_TEST_DATA "/exports/" + name; }

class Sandbox {
 public:
  Sandbox() {
    std::string name = (fs::temp_directory_path() / "optp-tools-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    fs::create_directories(work());
  }
  ~Sandbox() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string work() const { return path_ + "/work"; }
  std::string operator/(const std::string& name) const { return work() + "/" + name; }
  // Every file and folder, hidden ones too.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(work()))
      out.push_back(fs::relative(entry.path(), work()).string());
    std::sort(out.begin(), out.end());
    return out;
  }

  // The same files with the same bytes, and at least one.
  void same_folders(const std::string& a, const std::string& b) const {
    Words names[2];
    for (const auto& [folder, list] : {std::pair{&a, &names[0]}, {&b, &names[1]}})
      for (const auto& entry : fs::directory_iterator(*this / *folder))
        list->push_back(entry.path().filename().string());
    for (auto& list : names) std::sort(list.begin(), list.end());
    CHECK(names[0] == names[1]);
    CHECK(!names[0].empty());
    for (const std::string& name : names[0]) {
      CAPTURE(name);
      CHECK(contents(*this / a + "/" + name) == contents(*this / b + "/" + name));
    }
  }

  struct Options {
    std::function<void()> in_child;        // before the program starts
    std::function<void(pid_t)> meanwhile;  // while it runs
    std::string program;                   // empty: opt-partition
  };
  Result run(const std::vector<std::string>& arguments, const Options& options = {}) const {
    const std::string out = path_ + "/stdout", err = path_ + "/stderr";
    // Signals meet the program, not doctest's handlers in the moment before it starts.
    sigset_t deadly;
    ::sigemptyset(&deadly);
    for (int s : {SIGINT, SIGTERM}) ::sigaddset(&deadly, s);
    ::sigprocmask(SIG_BLOCK, &deadly, nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      for (int s : {SIGINT, SIGTERM}) ::signal(s, SIG_DFL);
      ::sigprocmask(SIG_UNBLOCK, &deadly, nullptr);
      (void)!::chdir(work().c_str());
      for (auto [file, to] : {std::pair{&out, 1}, {&err, 2}})
        ::dup2(::open(file->c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), to);
      if (options.in_child) options.in_child();
      std::vector<char*> argv{const_cast<char*>("opt-partition")};
      for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
      argv.push_back(nullptr);
      ::execv(options.program.empty() ? OPTP_PROGRAM : options.program.c_str(), argv.data());
      ::_exit(127);
    }
    ::sigprocmask(SIG_UNBLOCK, &deadly, nullptr);
    if (options.meanwhile) options.meanwhile(child);
    int status = 0;
    ::waitpid(child, &status, 0);
    Result result{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(out), contents(err)};
    CAPTURE(result.err);
    return result;
  }

 private:
  std::string path_;
};

}  // namespace optp
