#include "frontend/ir/diagnostic.h"

#include <doctest/doctest.h>

namespace optp {

TEST_CASE("a quoted name cannot steer a terminal, and is UTF-8 whatever it was") {
  const std::pair<const char*, const char*> rows[] = {
      {"layers.0/fc1", "'layers.0/fc1'"},
      {"größe 模型 🙂", "'größe 模型 🙂'"},
      {"\x1b[31m", R"('\x1b[31m')"},
      {"a\nb\r\t\x7f", R"('a\x0ab\x0d\x09\x7f')"},
      {"\xc2\x9b"
       "31m",
       R"('\u009b31m')"},           // C1: CSI in one character
      {"\xc2\x85", R"('\u0085')"},  // next line
      {"\x9b"
       "31m",
       R"('\x9b31m')"},  // CSI in Latin-1: not UTF-8
      {"\xe2\x80\xae"
       "cba",
       R"('\u202ecba')"},                             // written from right to left
      {"\xe2\x80\xa8", R"('\u2028')"},                // line separator
      {"\xc0\xaf", R"('\xc0\xaf')"},                  // overlong
      {"\xed\xa0\x80", R"('\xed\xa0\x80')"},          // a surrogate
      {"\xf4\x90\x80\x80", R"('\xf4\x90\x80\x80')"},  // beyond U+10FFFF
      {"\xe6\xa8", R"('\xe6\xa8')"},                  // cut off
  };
  for (const auto& [name, expected] : rows) CHECK(quoted(name) == expected);
  CHECK(quoted(llvm::StringRef("a\0b", 3)) == R"('a\x00b')");
}

TEST_CASE("a name is cut at 200 bytes, not within a character") {
  CHECK(quoted(std::string(200, 'x')) == "'" + std::string(200, 'x') + "'");
  CHECK(quoted(std::string(201, 'x')) == "'" + std::string(200, 'x') + "…'");
  CHECK(quoted(std::string(199, 'x') + "模") == "'" + std::string(199, 'x') + "…'");
}
}  // namespace optp
