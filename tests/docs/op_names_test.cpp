// docs/adding-an-op.md, section 4: what passes, runtime and tools need to know of an op is a trait. The name of an op
// stands there only where a node of it is made, or a kernel or an ONNX form of it registered.
#include <cctype>

#include "frontend/ir/op.h"
#include "llvm/ADT/STLExtras.h"
#include "tests/tools/program.h"

using namespace optp;

namespace {
// Comments are blanked, and so are quotes that are characters; all else stays where it is.
std::string without_comments(std::string text) {
  bool in_string = false;
  for (size_t k = 0; k + 1 < text.size(); ++k) {
    if (in_string && text[k] == '\\') {
      ++k;
    } else if (!in_string && text[k] == '"' && k > 0 && text[k - 1] == '\'' && text[k + 1] == '\'') {
      text[k] = ' ';  // a character, not a string
    } else if (text[k] == '"') {
      in_string = !in_string;
    } else if (!in_string && text[k] == '/' && text[k + 1] == '/') {
      for (; k < text.size() && text[k] != '\n'; ++k) text[k] = ' ';
    }
  }
  return text;
}
llvm::StringRef last_word(llvm::StringRef text) {
  size_t k = text.size();
  while (k > 0 && (std::isalnum(static_cast<unsigned char>(text[k - 1])) || text[k - 1] == '_')) --k;
  return text.drop_front(k);
}
// The first argument of a call that makes a node or names a member of JSON, or what a kernel is registered by.
bool may_name_an_op(llvm::StringRef before) {
  before = before.rtrim();
  if (before.consume_back("(")) {
    static constexpr llvm::StringRef made[] = {"create", "op", "get_op", "step"};
    static constexpr llvm::StringRef member[] = {"io",        "map",       "mapOptional", "optional",  "attribute",
                                                 "getObject", "getString", "getInteger",  "getNumber", "getArray"};
    return llvm::is_contained(made, last_word(before)) || llvm::is_contained(member, last_word(before));
  }
  if (before.consume_back("{{"))
    return last_word(before) == "RegisteredKernel" || last_word(before) == "RegisteredView";
  return before.consume_back("=") && before.rtrim().ends_with(".op");
}
// "FILE:LINE: NAME" of each other place where the whole of a string is the name of an op.
std::string places_of_names(const std::string& file, const std::string& source) {
  std::string out;
  const std::string text = without_comments(source);
  for (size_t begin = text.find('"'); begin != std::string::npos;) {
    size_t end = begin + 1;
    while (end < text.size() && text[end] != '"' && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
    if (end >= text.size()) break;
    const std::string name = text.substr(begin + 1, end - begin - 1);
    if (find_op(name) && !may_name_an_op(llvm::StringRef(text).take_front(begin)))
      out += file + ":" + std::to_string(std::count(text.begin(), text.begin() + ptrdiff_t(begin), '\n') + 1) + ": " +
             name + "\n";
    begin = text.find('"', end + 1);
  }
  return out;
}
// Operators of ONNX have words for attributes that ops have for names, and make nodes of what they choose; what a node
// is they ask no more than others.
std::string places_that_ask_for_a_name(const std::string& file, const std::string& source) {
  std::string out;
  const std::string text = without_comments(source);
  for (size_t at = text.find("op->name"); at != std::string::npos; at = text.find("op->name", at + 1))
    out +=
        file + ":" + std::to_string(std::count(text.begin(), text.begin() + ptrdiff_t(at), '\n') + 1) + ": op->name\n";
  return out;
}
}  // namespace

TEST_CASE("an op is known by its traits: outside of passes/ops nothing asks for its name") {
  std::string found;
  size_t files = 0;
  for (const char* room : {"frontend/onnx", "passes", "runtime", "tools"})
    for (const auto& entry : fs::recursive_directory_iterator(std::string(OPTP_SOURCE) + "/" + room)) {
      const std::string path = fs::relative(entry.path(), OPTP_SOURCE).string();
      if (path.rfind("passes/ops/", 0) == 0) continue;  // what ops are is said here
      const std::string kind = entry.path().extension().string();
      if (kind != ".cpp" && kind != ".h") continue;
      ++files;
      const std::string source = contents(entry.path().string());
      found += path.rfind("frontend/onnx/operators/", 0) == 0 ? places_that_ask_for_a_name(path, source)
                                                              : places_of_names(path, source);
    }
  CHECK(files > 100);
  CHECK(found == "");
}

TEST_CASE("an op's name is found wherever it is compared, and not where a node is made") {
  const std::pair<const char*, const char*> rows[] = {
      {"if (node.op->name == \"softmax\") return;\n", "f.cpp:1: softmax\n"},
      {"\n// a comment\nif (\"softmax\" != name)\n", "f.cpp:3: softmax\n"},
      {"llvm::is_contained({\"cast\",\n \"reshape\"}, name)", "f.cpp:1: cast\nf.cpp:2: reshape\n"},
      {"llvm::StringSwitch<int>(name).Case(\"gather\", 1)", "f.cpp:1: gather\n"},
      {"node.op == find_op(\"add\")", "f.cpp:1: add\n"},
      {"std::set<std::string> ops{\"relu\"};", "f.cpp:1: relu\n"},
      {"text(\"a // b\") == \"relu\"", "f.cpp:1: relu\n"},
      {"text('\"') == \"relu\"", "f.cpp:1: relu\n"},
      {"text(\"expected '\") == \"relu\"", "f.cpp:1: relu\n"},
      {"build.create(\"reshape\", {&in}); f.op(\n  \"add\", {a, b}); get_op(\"mul\")", ""},
      {"RegisteredKernel{{\"transpose\", {}, transpose}}, RegisteredKernel{{.op = \"gather\"}}", ""},
      {"// relu, or \"relu\"\ntext = \"relu of x\"; o->getInteger(\"min\")", ""},
  };
  for (const auto& [source, places] : rows) {
    CAPTURE(source);
    CHECK(places_of_names("f.cpp", source) == places);
  }
  CHECK(places_that_ask_for_a_name("f.cpp", "// op->name\nif (node.op->name == \"neg\")") == "f.cpp:2: op->name\n");
}
