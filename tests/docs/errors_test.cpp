// What the documents say of errors holds: each code is made somewhere and tested, and nothing reads a message again.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "frontend/ir/error_codes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

namespace optp {
namespace {
namespace fs = std::filesystem;
const fs::path root = OPTP_SOURCE;

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}
struct Source {
  std::string name, text;
};
std::vector<Source> sources_of(const std::vector<std::string>& folders) {
  std::vector<Source> out;
  for (const std::string& folder : folders)
    for (const auto& entry : fs::recursive_directory_iterator(root / folder))
      if (entry.path().extension() == ".cpp" || entry.path().extension() == ".h")
        out.push_back({fs::relative(entry.path(), root).string(), contents(entry.path())});
  return out;
}
const std::vector<Source>& sources() {
  static const std::vector<Source> out = sources_of({"frontend", "passes", "runtime", "tools"});
  return out;
}
// From where an error is made to the end of the statement.
std::vector<std::string> errors_made_in(llvm::StringRef text) {
  std::vector<std::string> out;
  for (size_t at = text.find("(Code::"); at != llvm::StringRef::npos; at = text.find("(Code::", at + 1)) {
    size_t end = text.find(";\n", at);
    if (end == llvm::StringRef::npos) end = text.size();
    out.push_back(text.slice(at, end).str());
  }
  return out;
}
}  // namespace

TEST_CASE("no message is read again, and no error is made without its code") {
  // What would look into a sentence, or go by an exit code's kind alone.
  const std::regex reads(
      R"((message\(\)|toString\([^;{]*\))\)?\s*\.\s*(find|rfind|contains|count|starts_with|ends_with|split|rsplit|substr|consume_front|consume_back)\()"),
      kinds(R"(\berror\(Fault::|\bbad_input\(|\bwith_prefix\()");
  size_t made = 0;
  for (const Source& s : sources()) {
    CAPTURE(s.name);
    std::smatch match;
    CHECK_MESSAGE(!std::regex_search(s.text, match, reads), match.str());
    CHECK_MESSAGE(!std::regex_search(s.text, match, kinds), match.str());
    for (const std::string& error : errors_made_in(s.text)) {
      ++made;
      // Where words hold a part, `about` says it as a part too.
      const bool in_words = llvm::StringRef(error).contains(", found ") ||
                            llvm::StringRef(error).contains(": expected ") ||
                            llvm::StringRef(error).contains("did you mean ");
      CHECK_MESSAGE((!in_words || llvm::StringRef(error).contains(".about(")), error);
    }
  }
  CHECK(made > 300);
}

TEST_CASE("printing an error does not look at files") {
  for (const char* name :
       {"frontend/ir/diagnostic.cpp", "frontend/ir/diagnostic_json.cpp", "frontend/ir/error_codes.cpp"}) {
    const std::string text = contents(root / name);
    REQUIRE(!text.empty());
    CHECK(text.find("exists(") == std::string::npos);
    CHECK(text.find("filesystem") == std::string::npos);
    CHECK(text.find("FileSystem.h") == std::string::npos);
  }
}

TEST_CASE("each code of docs/errors.md is given by some source, and tested") {
  // oneDNN refuses nothing of what the compiler makes; its exceptions are caught in runtime/executable.cpp.
  const std::vector<std::string> untested = {"internal/onednn"};
  const std::vector<Source> tests = sources_of({"tests"});
  const std::string page = contents(root / "docs/errors.md"), table = contents(root / "frontend/ir/error_codes.cpp");
  std::smatch row;
  size_t rows = 0;
  for (auto at = table.cbegin(); std::regex_search(at, table.cend(), row, std::regex(R"(\{Code::(\w+),\s+"([^"]+)\")"));
       at = row[0].second) {
    ++rows;
    const std::string code = "Code::" + row[1].str(), name = row[2];
    CAPTURE(name);
    const auto gives = [&](const Source& s) {
      if (s.name.find("frontend/ir/error_codes") == 0) return false;
      for (size_t at = s.text.find(code); at != std::string::npos; at = s.text.find(code, at + 1))
        if (const char next = s.text[at + code.size()]; next != '_' && !llvm::isAlnum(next)) return true;
      return false;
    };
    CHECK(llvm::any_of(sources(), gives));
    if (name == "stopped") continue;
    CHECK(page.find("`" + name + "`") != std::string::npos);
    CHECK((llvm::is_contained(untested, name) || llvm::any_of(tests, [&](const Source& s) {
             return s.name.find("tests/docs/") != 0 && (s.text.find("\"" + name + "\"") != std::string::npos ||
                                                        s.text.find("\"code\":\"" + name) != std::string::npos);
           })));
  }
  CHECK(rows == error_codes().size() + 1);
}
}  // namespace optp
